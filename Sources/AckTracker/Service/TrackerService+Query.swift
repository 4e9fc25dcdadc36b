public import ChallengeModel
import Foundation
import KafkaClient
public import ServiceSupport
import Wire

/// The answer of a tracker about one challenge.
public enum TrackerAnswer: Sendable {
    case held(ChallengeView)
    /// This tracker owns the partition and has read it to its end; no tracker holds the challenge.
    case unknown
    /// This tracker owns the partition, but has not read it to its end.
    case catchingUp(partition: Int32)
    /// Another tracker owns its partition.
    case elsewhere(partition: Int32, owned: [Int32])
    /// The tracker has no assignment.
    case idle
}

extension TrackerService {
    /// Answers from the current state.
    public func answer(about challenge: ChallengeSID) -> TrackerAnswer {
        guard let runtime = current, let sid = PackedSID(challenge.rawValue, prefix: ChallengeKind.prefix) else {
            return .idle
        }
        let number = Murmur2.partition(key: Array(challenge.rawValue.utf8), partitions: runtime.partitions)
        let owned = runtime.owned
        guard let partition = owned.first(where: { $0.number == number }) else {
            return owned.isEmpty ? .idle : .elsewhere(partition: number, owned: owned.map(\.number))
        }
        guard partition.isLive else { return .catchingUp(partition: number) }
        return partition.view(sid, at: runtime.clock.now()).map { .held($0) } ?? .unknown
    }

    /// `GET /tracker/challenges/{sid}` for the admin port.
    public var challengePage: AdminPage {
        AdminPage(path: "tracker/challenges") { [self] text in
            guard let challenge = ChallengeSID(text) else {
                return .error(400, "\(text.prefix(40)) is not a challenge SID (YC and 32 hexadecimal digits)")
            }
            switch answer(about: challenge) {
            case .held(let view):
                guard let json = try? JSONEncoder.line.text(view) else {
                    return .error(500, "the answer cannot be written")
                }
                return AdminReply(status: 200, json: json)
            case .unknown: return .error(404, "not held: never seen, or forgotten a minute after its expiry")
            case .catchingUp(let partition):
                return .error(503, "partition \(partition) is being read: try again in some seconds")
            case .elsewhere(let partition, let owned):
                return .error(421, "partition \(partition) belongs to another tracker; this one has \(owned)")
            case .idle: return .error(503, "this tracker has no partitions (yet)")
            }
        }
    }
}
