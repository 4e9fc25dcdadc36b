import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization
import Wire

/// Reads the metrics of the roles into a ring, so that the console works without Prometheus: every 2 s while somebody
/// looks at a page that shows them, else every 10 s.
final class MetricsScraper: Service {
    /// The families that the pages show. Everything else of a page is skipped.
    static func isWanted(_ name: Substring) -> Bool {
        name == "process_resident_memory_bytes"
            || name.hasPrefix("beckon_") && !name.hasPrefix("beckon_http_") && !name.hasPrefix("beckon_log_")
                && !name.hasPrefix("beckon_store_transactions")
    }

    private static let interval = Duration.seconds(2)
    /// How many intervals are between two rounds while nobody looks.
    private static let patience = 5
    /// How long somebody counts as looking after a page was shown. Open pages ask more often.
    private static let watchedMs: Int64 = 30_000
    private static let deadline = TimeAmount.milliseconds(1500)
    /// A page of a role has some 100 KB.
    private static let mostBytes = 4 << 20
    private static let atOnce = 16

    private let targets: @Sendable () async throws -> [String]
    private let client: HTTPClient
    private let logger: Logger
    private let ring = Mutex(MetricsRing())
    private let lookedAtMs = Atomic(Timestamp.steadyMs())

    /// - Parameter targets: the URLs to read; asked once, when it runs.
    init(targets: @escaping @Sendable () async throws -> [String], client: HTTPClient, logger: Logger) {
        self.targets = targets
        self.client = client
        self.logger = logger
    }

    /// What is known now, for a page. It counts as a look.
    var now: MetricsRing {
        lookedAtMs.store(Timestamp.steadyMs(), ordering: .relaxed)
        return ring.withLock { $0 }
    }

    private var isWatched: Bool { Timestamp.steadyMs() - lookedAtMs.load(ordering: .relaxed) < Self.watchedMs }

    func run() async throws {
        try await cancelWhenGracefulShutdown { [self] in
            do {
                let targets = try await targets()
                while true {
                    await round(targets)
                    // In steps, so that a look has fresh figures soon.
                    for _ in 0..<Self.patience {
                        try await Task.sleep(for: Self.interval)
                        if isWatched { break }
                    }
                }
            } catch is CancellationError {
                // The end.
            }
        }
    }

    private func round(_ targets: [String]) async {
        let urls = await Self.everyAddress(of: targets)
        await withTaskGroup(of: Void.self) { group in
            var atWork = 0
            for url in urls {
                if atWork >= Self.atOnce {
                    await group.next()
                    atWork -= 1
                }
                group.addTask { await self.read(url) }
                atWork += 1
            }
        }
        ring.withLock {
            $0.keep(only: Set(urls))
            $0.tick(atMs: Timestamp.steadyMs())
        }
    }

    private func read(_ url: String) async {
        do {
            let response = try await client.execute(HTTPClientRequest(url: url), timeout: Self.deadline)
            guard response.status == .ok else {
                return ring.withLock { $0.failed(url, "answered \(response.status.code)") }
            }
            let body = try await response.body.collect(upTo: Self.mostBytes)
            let samples = MetricsText.samples(String(buffer: body), isWanted: Self.isWanted)
            ring.withLock { $0.answered(url, samples, atMs: Timestamp.steadyMs()) }
        } catch {
            guard !Task.isCancelled else { return }
            logger.debug("a role's metrics cannot be read", metadata: ["url": "\(url)", "error": "\(error)"])
            ring.withLock { $0.failed(url, "does not answer") }
        }
    }

    /// A name that stands for several addresses (a headless service of Kubernetes) gives a URL for each.
    private static func everyAddress(of targets: [String]) async -> [String] {
        var urls: [String] = []
        for target in targets {
            guard let parts = URLComponents(string: target), let host = parts.host, parts.scheme == "http",
                ClientAddressForm.isName(host)
            else {
                urls.append(target)
                continue
            }
            let addresses = (try? await NIOThreadPool.singleton.runIfActive { Self.addresses(of: host) }) ?? []
            if addresses.isEmpty { urls.append(target) }
            for address in addresses {
                var parts = parts
                parts.host = address.contains(":") ? "[\(address)]" : address
                urls.append(parts.string ?? target)
            }
        }
        return Array(Set(urls).sorted().prefix(MetricsRing.mostTargets))
    }

    /// Blocks; runs on a thread for that.
    private static func addresses(of host: String) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &found) == 0 else { return [] }
        defer { freeaddrinfo(found) }
        var addresses: [String] = []
        var entry = found
        while let info = entry {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            if getnameinfo(
                info.pointee.ai_addr, info.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
                == 0
            {
                let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
                addresses.append(String(decoding: bytes, as: UTF8.self))
            }
            entry = info.pointee.ai_next
        }
        return Array(Set(addresses)).sorted()
    }
}

/// Whether a host of a URL is a name to be looked up, not an address.
enum ClientAddressForm {
    static func isName(_ host: String) -> Bool {
        (try? SocketAddress(ipAddress: host.trimmingCharacters(in: ["[", "]"]), port: 0)) == nil
    }
}
