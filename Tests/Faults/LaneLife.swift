import Foundation

/// One time that a dispatcher served a partition, as it says itself in its log (level debug).
struct LaneLife: Hashable, Sendable {
    enum End: String, Sendable {
        /// It serves still, or everything that it sent has its outcome on the log.
        case whole
        /// It was handed over with answers or outcomes outstanding at the bound of the drain.
        case open = "handed over with work open"
        /// The group gave the partition to another one, or may have.
        case lost = "lost to another worker"
        case killed = "killed"
        case frozen = "frozen"
    }

    var worker: String
    /// Names the lane in its outcomes.
    var writer: String
    var partition: Int32
    /// Where `outcomes` ended when it began: it has read everything that lies below.
    var outcomesEnd: Int64
    /// Epoch milliseconds; nothing was pushed before.
    var fromMs: Int64
    /// Nil: it has not said that it left.
    var toMs: Int64?
    var end = End.whole

    /// - Parameters:
    ///   - log: the dispatcher's, whole.
    ///   - disturbances: what was done to it.
    static func all(of worker: String, log: String, _ disturbances: [Disturbance]) -> [LaneLife] {
        var lives: [LaneLife] = []
        var current: [Int32: Int] = [:]
        // Left in the hand-over that is under way; its last line says what kind it was.
        var left: [Int] = []
        for line in log.split(separator: "\n") {
            if line.hasSuffix("] partitions lost") { for index in left { lives[index].end = .lost } }
            if line.hasSuffix("] partitions lost") || line.hasSuffix("] partitions handed over") { left = [] }
            let isOpen = line.hasSuffix("] a partition is left with work open")
            let isLeft = isOpen || line.hasSuffix("] a partition is left")
            guard isLeft || line.hasSuffix("] a partition is served"),
                let partition = field("partition", of: line).flatMap({ Int32($0) }),
                let atMs = field("at-ms", of: line).flatMap({ Int64($0) })
            else { continue }
            if isLeft {
                guard let index = current.removeValue(forKey: partition) else { continue }
                lives[index].toMs = atMs
                if isOpen { lives[index].end = .open }
                left.append(index)
            } else {
                current[partition] = lives.count
                lives.append(
                    LaneLife(
                        worker: worker, writer: field("writer", of: line) ?? "", partition: partition,
                        outcomesEnd: field("outcomes", of: line).flatMap { Int64($0) } ?? 0, fromMs: atMs))
            }
        }
        for disturbance in disturbances where disturbance.worker == worker {
            for index in lives.indices where lives[index].fromMs <= disturbance.toMs {
                switch disturbance.kind {
                case .killed where lives[index].toMs == nil: lives[index].end = .killed
                case .frozen where lives[index].toMs ?? .max >= disturbance.fromMs: lives[index].end = .frozen
                default: break
                }
            }
        }
        return lives
    }

    private static func field(_ name: String, of line: Substring) -> String? {
        line.split(separator: " ").first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
    }
}

/// Something that was done to a dispatcher.
struct Disturbance: Sendable {
    enum Kind: String, Sendable {
        case killed
        case frozen
        case stopped
    }

    var kind: Kind
    var worker: String
    /// Epoch milliseconds. What it did before and after a freeze is its own.
    var fromMs: Int64
    var toMs: Int64
}
