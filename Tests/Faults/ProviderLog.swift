import Foundation
import NIOHTTP1
import Simulators
import Synchronization
import TestSupport

/// The simulator's log of pushes, read as it grows: it keeps a bounded number of lines.
final class ProviderLog: Sendable {
    private let cluster: BeckonCluster
    private let read = Mutex<[PushRecord]>([])

    init(_ cluster: BeckonCluster) { self.cluster = cluster }

    var pushes: [PushRecord] { read.withLock { $0 } }

    /// Follows until cancelled, or until the simulator has ended.
    func follow() async {
        while !Task.isCancelled {
            do { try await readOn() } catch is BeckonProcess.Ended { return } catch {}
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// Reads what has been added. Only one task reads at a time.
    func readOn() async throws {
        let after = read.withLock { $0.last }.map { "?after=\($0.sequence)" } ?? ""
        let lines = try await cluster.ask(.GET, cluster.control + "/pushes" + after)
        let fresh = try lines.split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(PushRecord.self, from: Data($0))
        }
        read.withLock { $0 += fresh }
    }
}
