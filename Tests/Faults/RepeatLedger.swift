import ChallengeModel
import Foundation
import KafkaClient
import Simulators

/// Something that was done to a dispatcher, and the partitions that it served then.
struct Disturbance: Sendable {
    enum Kind: String, Sendable {
        case killed
        case frozen
        case stopped
    }

    var kind: Kind
    var worker: String
    var partitions: Set<Int32>
    /// Epoch milliseconds. What it did before and after a freeze is its own.
    var fromMs: Int64
    var toMs: Int64

    /// The partitions of the last assignment in a dispatcher's log, none when they were handed over since.
    static func partitions(in log: String) -> Set<Int32> {
        var found: Set<Int32> = []
        for line in log.split(separator: "\n") {
            if line.hasSuffix("partitions handed over") || line.hasSuffix("partitions lost") { found = [] }
            guard line.hasSuffix("partitions assigned"), let open = line.firstIndex(of: "["),
                let end = line[open...].firstIndex(of: "]")
            else { continue }
            let numbers = line[line.index(after: open)..<end].split(separator: ",")
            found = Set(numbers.compactMap { Int32($0.trimmingCharacters(in: .whitespaces)) })
        }
        return found
    }
}

/// Every push that the provider accepted more than once, and why: a repeat is allowed only where the answer was unknown.
struct RepeatLedger: CustomStringConvertible {
    /// Repeats by their cause.
    private(set) var explained: [String: Int] = [:]
    /// Repeats for which no disturbance of the partition's owner accounts.
    private(set) var unexplained: [String] = []

    /// An outcome may wait so long in its writer's queue on a busy machine before it is on the log.
    private static let recordingMs: Int64 = 3000
    /// … and a request so long in a socket before the provider reads it.
    private static let readingMs: Int64 = 1000

    /// - Parameters:
    ///   - pushes: what the provider accepted, in its order.
    ///   - outcomes: the topic's records.
    init(pushes: [PushRecord], outcomes: [ConsumedRecord], disturbances: [Disturbance], partitions: Int) throws {
        var accepts: [String: [PushRecord]] = [:]
        for push in pushes where push.fate != .refused {
            accepts["\(push.challengeSID) \(push.dispatch) \(push.kind)", default: []].append(push)
        }
        var recorded: [String: [Int64]] = [:]
        for record in outcomes {
            let value = try OutcomeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            guard case .push(let outcome) = value.kind, outcome.disposition == .accepted else { continue }
            let kind = outcome.kind == .background ? "background" : "visible"
            recorded["\(outcome.challengeSid) \(outcome.dispatchID) \(kind)", default: []].append(outcome.atMs)
        }
        for (unit, times) in accepts where times.count > 1 {
            guard let first = times.first else { continue }
            let partition = Murmur2.partition(key: Array(first.challengeSID.utf8), partitions: partitions)
            for (former, repeated) in zip(times, times.dropFirst()) {
                let cause = Self.cause(
                    former, repeated, accepts: times.count, recorded: recorded[unit] ?? [],
                    disturbances.filter { $0.partitions.contains(partition) })
                if let cause {
                    explained[cause, default: 0] += 1
                } else {
                    unexplained.append(
                        "\(unit): accepted at \(times.map(\.atMs)), recorded \(recorded[unit] ?? []), partition \(partition)"
                    )
                }
            }
        }
    }

    private static func cause(
        _ former: PushRecord, _ repeated: PushRecord, accepts: Int, recorded: [Int64], _ owners: [Disturbance]
    ) -> String? {
        for owner in owners where repeated.atMs > owner.fromMs {
            switch owner.kind {
            // It was sent before the end, and its outcome never came to the log.
            case .killed
            where former.atMs <= owner.fromMs + readingMs && former.atMs > owner.fromMs - recordingMs
                && recorded.count < accepts:
                return "killed before the outcome was recorded"
            // It was sent before the worker stood still, and recorded by it after it woke, if at all.
            case .frozen
            where former.atMs <= owner.fromMs + readingMs && former.atMs > owner.fromMs - recordingMs:
                return "frozen before the outcome was recorded"
            default: continue
            }
        }
        return nil
    }

    var count: Int { explained.values.reduce(0, +) + unexplained.count }

    var description: String {
        let causes = explained.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        return "\(count) repeats (\(causes.joined(separator: ", "))), \(unexplained.count) unexplained"
    }
}
