import NIOCore
import Synchronization

/// Resolves the names that customers gave, once for each connection's use, and judges every answer. What is returned is
/// what is connected to: nothing looks the name up a second time.
///
/// Bounded: look-ups at once in all and for each domain, so that hostile zones delay only themselves; entries of the
/// cache; time.
final class JudgedAddresses: Sendable {
    struct Bounds: Sendable {
        /// One look-up, all servers and tries together.
        var deadline = Duration.seconds(5)
        var mostLookups = 256
        /// Of one registrable domain (its last two labels).
        var mostPerDomain = 16
        var mostCached = 4096
        /// Longest use of an answer, whatever its time to live.
        var longest = Duration.seconds(60)
        /// For "no such name" and for refused answers.
        var negative = Duration.seconds(5)
    }

    private struct Entry {
        let result: Result<[IPAddress], GuardedHTTPError>
        let until: ContinuousClock.Instant
    }

    private struct State {
        var cache: [String: Entry] = [:]
        var lookups = 0
        var perDomain: [String: Int] = [:]
    }

    private let rules: OutboundRules
    private let servers: NameServers
    private let bounds: Bounds
    private let state = Mutex(State())

    init(rules: OutboundRules, servers: NameServers, bounds: Bounds = Bounds()) {
        self.rules = rules
        self.servers = servers
        self.bounds = bounds
    }

    /// The addresses to connect to, IPv4 first; at least one.
    func addresses(of url: CustomerURL, on loop: any EventLoop) async throws(GuardedHTTPError) -> [IPAddress] {
        let name: String
        switch url.host {
        case .address(let address):
            try judge([address], url)
            return [address]
        case .name(let given): name = given
        }
        // Rules depend on the port too.
        let key = "\(name):\(url.port)"
        if let entry = state.withLock({ $0.cache[key] }), entry.until > .now { return try entry.result.get() }
        let domain = name.split(separator: ".").suffix(2).joined(separator: ".")
        try begin(domain)
        defer { end(domain) }
        let result: Result<[IPAddress], GuardedHTTPError>
        var life = bounds.longest
        do throws(GuardedHTTPError) {
            let (found, timeToLive) = try await lookUp(name, on: loop)
            try judge(found, url)
            life = min(life, .seconds(Int64(timeToLive ?? 0)))
            result = .success(found)
        } catch {
            result = .failure(error)
            life = bounds.negative
            // Our own servers may be back at once.
            if error == .nameServerSilent { life = .zero }
        }
        if life > .zero { remember(key, Entry(result: result, until: .now + life)) }
        return try result.get()
    }

    /// One address that is refused refuses them all: a name with a public and a private answer is an attack or a
    /// mistake.
    private func judge(_ addresses: [IPAddress], _ url: CustomerURL) throws(GuardedHTTPError) {
        for address in addresses {
            if let reason = rules.refusal(of: address, behind: url) { throw .refused(detail: "\(address): \(reason)") }
        }
    }

    private func lookUp(
        _ name: String, on loop: any EventLoop
    ) async throws(GuardedHTTPError) -> ([IPAddress], timeToLive: UInt32?) {
        // RFC 6761: never asked of a name server.
        if name == "localhost" { return ([IPAddress([127, 0, 0, 1])], 60) }
        let deadline = NIODeadline.now() + TimeAmount(bounds.deadline)
        async let four = try? servers.ask(name, .a, deadline: deadline, on: loop)
        async let six = try? servers.ask(name, .aaaa, deadline: deadline, on: loop)
        let answers = [await four, await six].compactMap { $0 }
        guard !answers.isEmpty else { throw .nameServerSilent }
        let found = answers.flatMap(\.addresses)
        guard !found.isEmpty else {
            // Half an answer says nothing about the other half.
            throw answers.count == 2 ? .nameNotFound : .nameServerSilent
        }
        return (found, answers.compactMap(\.timeToLive).min())
    }

    private func begin(_ domain: String) throws(GuardedHTTPError) {
        let isFree = state.withLock { state in
            guard state.lookups < bounds.mostLookups, state.perDomain[domain, default: 0] < bounds.mostPerDomain else {
                return false
            }
            state.lookups += 1
            state.perDomain[domain, default: 0] += 1
            return true
        }
        guard isFree else { throw .busy }
    }

    private func end(_ domain: String) {
        state.withLock { state in
            state.lookups -= 1
            let left = state.perDomain[domain, default: 1] - 1
            state.perDomain[domain] = left > 0 ? left : nil
        }
    }

    private func remember(_ key: String, _ entry: Entry) {
        state.withLock { state in
            if state.cache.count >= bounds.mostCached {
                let now = ContinuousClock.now
                state.cache = state.cache.filter { $0.value.until > now }
                if state.cache.count >= bounds.mostCached { state.cache = [:] }
            }
            state.cache[key] = entry
        }
    }
}
