import Foundation
import TestSupport

/// The processes of webhook relays, as the campaign sees them: their memory at certain moments, and their partitions.
struct RelayProcesses: CustomStringConvertible {
    private struct Life {
        let name: String
        let process: Int32
        var notes: [String]
    }

    private let names: [String]
    private let cluster: BeckonCluster
    private var lives: [Life] = []

    init(_ names: [String], of cluster: BeckonCluster) {
        self.names = names
        self.cluster = cluster
    }

    /// Reads the memory of the processes that run now. A relay that was started again is another process.
    mutating func note(_ moment: String) {
        for name in names {
            guard let process = cluster[name], process.isRunning else { continue }
            let text = (try? String(contentsOfFile: "/proc/\(process.identifier)/status", encoding: .utf8)) ?? ""
            let sockets = Self.sockets(of: process.identifier)
            let note =
                "\(moment): \(Self.megabytes("VmRSS", text)) (\(Self.megabytes("RssAnon", text)), \(sockets) sockets)"
            if let index = lives.firstIndex(where: { $0.process == process.identifier }) {
                lives[index].notes.append(note)
            } else {
                lives.append(Life(name: name, process: process.identifier, notes: [note]))
            }
        }
    }

    /// Of 10^6 bytes.
    private static func megabytes(_ field: String, _ status: String) -> Int {
        let line = status.split(separator: "\n").first { $0.hasPrefix(field + ":") } ?? ""
        let kilobytes = line.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }.first ?? 0
        return kilobytes * 1024 / 1_000_000
    }

    private static func sockets(of process: Int32) -> Int {
        let folder = "/proc/\(process)/fd"
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return files.count { file in
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(file)")
            return target?.hasPrefix("socket:") == true
        }
    }

    /// How often a relay had lost its partitions before it knew: the machine gave it no processor time for a session.
    var losses: Int {
        names.reduce(0) { sum, name in
            sum + (cluster[name]?.output.split(separator: "\n").count { $0.contains("partitions lost") } ?? 0)
        }
    }

    var description: String {
        lives.map { "    \($0.name), process \($0.process): \($0.notes.joined(separator: ", "))" }
            .joined(separator: "\n")
    }

    /// The partitions that a relay says it owns: of its last assignment, when it has not handed it over.
    static func owned(by process: BeckonProcess?) -> Set<Int32> {
        let changes = ["partitions assigned", "partitions handed over", "partitions lost", "not ready yet"]
        let lines = process?.output.split(separator: "\n") ?? []
        let last = lines.last { line in changes.contains { line.contains($0) } }
        guard let last, last.contains("partitions assigned"),
            let list = last.firstMatch(of: /partitions=\[([0-9, ]*)\]/)
        else { return [] }
        return Set(list.1.split(separator: ",").compactMap { Int32($0.trimmingCharacters(in: .whitespaces)) })
    }
}
