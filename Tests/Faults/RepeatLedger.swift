import ChallengeModel
import Foundation
import KafkaClient
import Simulators

/// Every push that the provider accepted more than once, and why: a repeat is allowed only where the worker that pushed
/// first was killed, frozen, lost the partition, or left it before its outcome was on the log, and only while the next
/// one could not know that outcome. Both are taken from what the workers say and from offsets, so the judgement does
/// not depend on how fast the machine is.
struct RepeatLedger: CustomStringConvertible {
    /// An outcome on the log.
    struct Recorded: Hashable, Sendable {
        var offset: Int64
        var writer: String
        /// The next owner does not push it again: all but an answer that a drain did not wait for.
        var isDone: Bool
    }

    /// Repeats by their cause.
    private(set) var explained: [String: Int] = [:]
    /// One line for each of them.
    private(set) var stories: [String] = []
    /// Repeats for which nothing accounts.
    private(set) var unexplained: [String] = []

    /// - Parameters:
    ///   - pushes: what the provider accepted, in its order.
    ///   - outcomes: the topic's records.
    init(pushes: [PushRecord], outcomes: [ConsumedRecord], lives: [LaneLife], partitions: Int) throws {
        var accepts: [String: [PushRecord]] = [:]
        for push in pushes where push.fate != .refused {
            accepts["\(push.challengeSID) \(push.dispatch) \(push.kind)", default: []].append(push)
        }
        var recorded: [String: [Recorded]] = [:]
        for record in outcomes {
            let value = try OutcomeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            guard case .push(let outcome) = value.kind, outcome.disposition != .dropped else { continue }
            let kind = outcome.kind == .background ? "background" : "visible"
            recorded["\(outcome.challengeSid) \(outcome.dispatchID) \(kind)", default: []].append(
                Recorded(
                    offset: record.offset, writer: record.headers.text(of: "beckon-writer") ?? "",
                    isDone: outcome.disposition != .unknown || outcome.reason != "drained"))
        }
        for (unit, times) in accepts where times.count > 1 {
            guard let first = times.first else { continue }
            let partition = Murmur2.partition(key: Array(first.challengeSID.utf8), partitions: partitions)
            judge(
                unit, acceptedAtMs: times.map(\.atMs), recorded: recorded[unit] ?? [],
                lives: lives.filter { $0.partition == partition })
        }
    }

    init() {}

    /// - Parameters:
    ///   - acceptedAtMs: when the provider accepted the push, each time; ascending.
    ///   - recorded: its outcomes.
    ///   - lives: of its partition.
    mutating func judge(_ unit: String, acceptedAtMs: [Int64], recorded: [Recorded], lives: [LaneLife]) {
        let lives = lives.sorted { $0.fromMs < $1.fromMs }
        func knew(_ life: LaneLife) -> Bool { recorded.contains { $0.isDone && $0.offset < life.outcomesEnd } }
        // Who has recorded a push is known exactly, whatever the clock says.
        let guilty = recorded.contains { outcome in
            lives.last { $0.writer == outcome.writer && $0.outcomesEnd <= outcome.offset }.map(knew) ?? false
        }
        var free = lives
        for (former, repeated) in zip(acceptedAtMs, acceptedAtMs.dropFirst()) {
            // The push may be that of the life before the last one: a request can lie in a socket while the partition
            // moves.
            let index = free.lastIndex { life in
                life.fromMs <= former && cause(of: life, recorded) != nil
                    && lives.contains { $0.fromMs > life.fromMs && $0.fromMs <= repeated && !knew($0) }
            }
            if !guilty, let index, let cause = cause(of: free[index], recorded) {
                explained[cause, default: 0] += 1
                stories.append(
                    "\(unit): accepted again after \(repeated - former) ms; \(free[index].worker), which served partition "
                        + "\(free[index].partition) before: \(cause)")
                free.remove(at: index)
            } else {
                unexplained.append(
                    "\(unit): accepted at \(acceptedAtMs), recorded \(recorded), served by \(lives)")
            }
        }
    }

    /// Why a push of this life may have no outcome that the next one reads; nil: it has one.
    private func cause(of life: LaneLife, _ recorded: [Recorded]) -> String? {
        if life.end != .whole { return life.end.rawValue }
        let isDrained = recorded.contains { $0.writer == life.writer && !$0.isDone && $0.offset >= life.outcomesEnd }
        return isDrained ? "no answer within the drain" : nil
    }

    var count: Int { explained.values.reduce(0, +) + unexplained.count }

    var description: String {
        let causes = explained.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        return "\(count) repeats (\(causes.joined(separator: ", "))), \(unexplained.count) unexplained"
    }
}
