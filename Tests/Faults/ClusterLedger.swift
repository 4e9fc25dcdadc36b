import ChallengeModel
import Foundation
import Simulators
import TestSupport
import Testing

/// What clients were told beside what stands on the topics, counted as the promises are worded.
struct ClusterLedger: CustomStringConvertible {
    let audit: DeliveryAudit
    let repeats: RepeatLedger
    private let told: [String: ClusterLoad.Told]
    private let tries: Int
    private let givenUp: Int
    private let refused: [String]
    private let isReadWhole: Bool
    private let longest: (took: Duration, tries: [String])
    /// Acknowledged, and never on the log.
    private let lost: Set<String>
    /// On the log, and acknowledged to nobody: made twice under one key. Not among them is what was given up.
    private let extra: Set<String>
    /// Told two final statuses, or another one than the log has.
    private let changed: [String]
    /// Without a final status on the log, long after their expiry.
    private let open: Set<String>

    /// - Parameters:
    ///   - pushes: what the providers accepted.
    ///   - disturbances: of dispatchers.
    ///   - bound: of reading every challenge once more.
    init(
        _ load: ClusterLoad, _ tail: TopicTail, _ stage: ClusterStage, pushes: [PushRecord],
        _ disturbances: [Disturbance], within bound: Duration
    ) async throws {
        isReadWhole = await load.readAll(within: bound)
        let lives = ClusterStage.dispatchers.flatMap { name in
            LaneLife.all(of: name, log: stage.cluster[name]?.output ?? "", disturbances)
        }
        repeats = try RepeatLedger(
            pushes: pushes, outcomes: tail.records(of: stage.cluster.names[.outcomes]), lives: lives, partitions: 12)
        let (audit, told) = (try DeliveryAudit(tail, stage.cluster.names), load.told)
        (self.audit, self.told) = (audit, told)
        (tries, givenUp, refused, longest) = (load.tries, load.givenUp.count, load.refused, load.longest)
        let acknowledged = Set(told.keys)
        lost = acknowledged.subtracting(audit.created)
        extra = audit.created.subtracting(acknowledged)
        open = acknowledged.subtracting(audit.resolved.keys)
        changed = told.compactMap { sid, told in
            let logged = Set((audit.resolved[sid] ?? []).map { "\($0.status)" })
            return told.final.count > 1 || logged.count > 1 || !told.final.isSubset(of: logged) && !logged.isEmpty
                ? "\(sid): told \(told.final.sorted()), logged \(logged.sorted())" : nil
        }
    }

    var description: String {
        """
        created \(told.count) (\(tries) tries, longest \(longest.took), given up \(givenUp), refused \(refused.count)); \
        \(audit); the providers accepted \(repeats); lost \(lost.count), made twice \(max(0, extra.count - givenUp)), final \
        status changed \(changed.count), without final status \(open.count)\(isReadWhole ? "" : "; not all were read again")
        """
    }

    /// What holds at any time.
    func checkSoFar() {
        #expect(refused.isEmpty)
        #expect(changed.isEmpty)
        #expect(audit.afterExpiry.isEmpty)
        #expect(audit.afterReceipt.isEmpty)
        // The next owner of a partition repeats what it cannot know; nobody repeats what it has pushed itself.
        #expect(audit.duplicates.filter(\.isOfOneLane).isEmpty)
        #expect(repeats.unexplained == [])
    }

    /// What holds when all has come to its end.
    func check() {
        checkSoFar()
        #expect(lost.isEmpty, "acknowledged, never dispatched")
        #expect(extra.count <= givenUp, "one key, two challenges: \(extra.prefix(5))")
        #expect(open.isEmpty, "no final status")
        #expect(isReadWhole, "no time to read every challenge at every producer")
        #expect(audit.withoutOutcome.isEmpty)
        #expect(audit.resolved.filter { $0.value.count > 1 }.isEmpty)
        #expect(
            audit.created.subtracting(audit.pushed).subtracting(audit.escalated).subtracting(audit.confirmed).isEmpty)
    }
}
