import Foundation
import HTTPEdge
import NIOSSL
import Storage

extension Examiner {
    // MARK: Files

    func lookAtFiles() async -> Note {
        let files = examination.roles.flatMap { role in role.files.map { FileFacts(file: $0, role: role.role) } }
        let seen = await OffPool.run(within: patience) { files.map(Self.read) }
        return { $0.files = seen.map { .seen($0) } ?? .not("the files could not be read in time") }
    }

    private static func read(_ facts: FileFacts) -> FileFacts {
        var facts = facts
        let path = facts.file.path
        let mode = (try? FileManager.default.attributesOfItem(atPath: path))?[.posixPermissions] as? NSNumber
        facts.isReadableByOthers = (mode?.intValue ?? 0) & 0o004 != 0
        guard access(path, R_OK) == 0 else {
            facts.fault = String(cString: strerror(errno))
            return facts
        }
        guard facts.file.content == .certificates else { return facts }
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(path)
            facts.expiresAtMs = chain.first.map { Int64($0.notValidAfter) * 1000 }
            if chain.isEmpty { facts.fault = "it holds no certificate" }
        } catch {
            facts.fault = "it is not a PEM file of certificates"
        }
        return facts
    }

    // MARK: Process

    func lookAtLimits() async -> Note {
        let seen = await OffPool.run(within: patience) { ProcessFacts.here() }
        return { $0.limits = seen.map { .seen($0) } ?? .not("the limits could not be read in time") }
    }

    // MARK: Store

    func lookAtStore() async -> Note {
        guard let role = examination.roles.first(where: { $0.store != nil }), let store = role.store else {
            return { $0.store = .not("no role with a store is examined") }
        }
        let result: Result<StoreFacts, StoreInspection.Failure>?
        switch store {
        case .file(let path):
            let keys = role.storeKeys
            result = await OffPool.run(within: patience) {
                Result { () throws(StoreInspection.Failure) in try StoreInspection.file(path, keys: keys) }
            }
        case .database(let settings):
            do {
                result = .success(
                    try await StoreInspection.database(
                        settings, keys: role.storeKeys, patience: patience, logger: logger))
            } catch {
                result = .failure(error)
            }
        }
        return { $0.store = .seen(result ?? .failure(.unreachable("no answer in time"))) }
    }
}

extension ProcessFacts {
    /// Of this process: the limit of open files, and what the control group (version 1 or 2) allows.
    static func here() -> ProcessFacts {
        ProcessFacts(
            openFiles: OpenFiles.limit, processors: processors(), memory: memory())
    }

    private static func text(_ path: String) -> String? {
        (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// `cpu.max`: quota and period in microseconds, or `max`.
    static func processors(cpuMax: String) -> Double? {
        let parts = cpuMax.split(separator: " ").compactMap { Double($0) }
        return parts.count == 2 && parts[1] > 0 ? parts[0] / parts[1] : nil
    }

    private static func processors() -> Double? {
        if let cpuMax = text("/sys/fs/cgroup/cpu.max") { return processors(cpuMax: cpuMax) }
        guard let quota = text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").flatMap({ Double($0) }), quota > 0,
            let period = text("/sys/fs/cgroup/cpu/cpu.cfs_period_us").flatMap({ Double($0) }), period > 0
        else { return nil }
        return quota / period
    }

    private static func memory() -> Int64? {
        let text =
            text("/sys/fs/cgroup/memory.max") ?? text("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        // Version 1 writes a number of about 2^63 for "no limit".
        return text.flatMap { Int64($0) }.flatMap { $0 < 1 << 60 ? $0 : nil }
    }
}
