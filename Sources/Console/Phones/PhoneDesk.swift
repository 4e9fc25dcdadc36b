import DequeModule
import Foundation
import ServiceLifecycle
public import Simulators
import Synchronization
import Wire

/// The simulated phones of `beckon dev`, as a person at the console handles them: real keys and real requests behind
/// buttons.
public final class PhoneDesk: Sendable {
    /// What the desk needs of a running system.
    public struct World: Sendable {
        let backend: BackendClient
        let serviceSID: String
        let pool: PhonePool
        let providers: SimulatedProviders

        public init(backend: BackendClient, serviceSID: String, pool: PhonePool, providers: SimulatedProviders) {
            self.backend = backend
            self.serviceSID = serviceSID
            self.pool = pool
            self.providers = providers
        }
    }

    /// A phone with its place on the page.
    struct Seat: Sendable {
        /// `phone-1`: in URLs and in the events of ``log``.
        let id: String
        /// For people: `iPhone`.
        let title: String
        let identity: String
        let phone: SimulatedPhone
        /// False: it answers by itself.
        let isAttended: Bool
    }

    /// A challenge that was asked for on the page.
    struct Asked: Sendable, Hashable {
        let sid: String
        let identity: String
        let message: String
        /// What the page where the person signs in shows.
        let number: String?
        let atMs: Int64
        /// Until when pushes to the person are stopped, because they denied several challenges.
        let quietUntilMs: Int64?
        var status: String
    }

    private struct State {
        var world: World?
        var seats: [Seat] = []
        var asked: Deque<Asked> = []
        var version = 0
        var waiters: [Int: AsyncStream<Never>.Continuation] = [:]
        var nextWaiter = 0
        /// Phones that run, and that are to be run.
        var starts: AsyncStream<SimulatedPhone>.Continuation?
        var unstarted: [SimulatedPhone] = []
    }

    /// The person in front of the page.
    static let person = "newcomer"
    static let mostPhones = 12
    private static let mostAsked = 8
    /// Browsers' tabs that wait at once; one more is answered at once.
    private static let mostWaiters = 64

    private let state = Mutex(State())

    public init() {}

    // MARK: - Running

    /// Gives the desk its system and its first phones: two phones of one person, `newcomer`, that answer nothing by
    /// themselves.
    /// - Parameters:
    ///   - automatic: a phone that somebody else runs, and that answers by itself.
    public func open(_ world: World, automatic: SimulatedPhone, of identity: String) async throws {
        state.withLock {
            $0.world = world
            $0.seats.append(
                Seat(
                    id: automatic.name, title: "Automatic", identity: identity, phone: automatic, isAttended: false))
        }
        for provider in [SimulatedProvider.fcm, .apn] { _ = try await add(provider, identity: Self.person) }
    }

    /// Runs the phones that ``add(_:identity:)`` makes, until the task is cancelled.
    func run() async {
        let (starts, continuation) = AsyncStream.makeStream(
            of: SimulatedPhone.self, bufferingPolicy: .bufferingNewest(Self.mostPhones))
        let waiting = state.withLock { state in
            state.starts = continuation
            defer { state.unstarted = [] }
            return state.unstarted
        }
        for phone in waiting { continuation.yield(phone) }
        await withDiscardingTaskGroup { group in
            for await phone in starts {
                group.addTask { await phone.run() }
                group.addTask { for await _ in phone.log.follow() { self.changed() } }
            }
            group.cancelAll()
        }
    }

    /// Enrols one more phone, first in the row.
    func add(_ provider: SimulatedProvider, identity: String) async throws -> Seat {
        let world = try world
        let number = try state.withLock { state in
            guard state.seats.count < Self.mostPhones else {
                throw ConsoleRefusal(status: 409, message: "There are \(Self.mostPhones) phones, which is the most.")
            }
            return state.seats.count + 1
        }
        let title = Self.title(provider)
        let phone = try await Self.told {
            try await world.pool.enrol(
                serviceSID: world.serviceSID, identity: identity, name: "phone-\(number)",
                profile: PhonePool.Profile(provider: provider, isAttended: true))
        }
        let seat = Seat(id: phone.name, title: title, identity: identity, phone: phone, isAttended: true)
        let starts = state.withLock { state in
            state.seats.insert(seat, at: 0)
            if state.starts == nil { state.unstarted.append(phone) }
            return state.starts
        }
        starts?.yield(phone)
        changed()
        return seat
    }

    private static func title(_ provider: SimulatedProvider) -> String {
        switch provider {
        case .apn: "iPhone"
        case .fcm: "Android"
        case .hms: "Huawei"
        }
    }

    // MARK: - Changes

    var version: Int { state.withLock { $0.version } }

    func changed() {
        let waiters = state.withLock { state in
            state.version += 1
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.finish() }
    }

    /// Waits until something has changed since `version`, at most `longest`.
    func change(after version: Int, atMost longest: Duration) async {
        let waiter = state.withLock { state -> (Int, AsyncStream<Never>)? in
            guard state.version == version, state.waiters.count < Self.mostWaiters else { return nil }
            let (stream, continuation) = AsyncStream.makeStream(of: Never.self, bufferingPolicy: .bufferingNewest(1))
            state.nextWaiter += 1
            state.waiters[state.nextWaiter] = continuation
            return (state.nextWaiter, stream)
        }
        guard let (id, stream) = waiter else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in stream {} }
            group.addTask { try? await Task.sleep(for: longest) }
            await group.next()
            group.cancelAll()
        }
        state.withLock { _ = $0.waiters.removeValue(forKey: id) }
    }

    // MARK: - What it shows

    private var world: World {
        get throws {
            guard let world = state.withLock({ $0.world }) else {
                throw ConsoleRefusal(status: 503, message: "Beckon is starting. Try again in a moment.")
            }
            return world
        }
    }

    /// The system's API; nil until it runs.
    var backend: BackendClient? { state.withLock { $0.world?.backend } }

    /// The service of the phones; empty until there are some.
    var serviceSID: String { state.withLock { $0.world?.serviceSID ?? "" } }

    var seats: [Seat] { state.withLock { $0.seats } }

    var identities: [String] {
        var seen: [String] = []
        for seat in seats where !seen.contains(seat.identity) { seen.append(seat.identity) }
        return seen
    }

    func seat(_ id: String) throws -> Seat {
        guard let seat = seats.first(where: { $0.id == id }) else {
            throw ConsoleRefusal(status: 404, message: "There is no phone \(id).")
        }
        return seat
    }

    /// The challenges that were asked for here, newest first, with their states as the API has them now.
    func asked() async -> [Asked] {
        let (asked, world) = state.withLock { (Array($0.asked), $0.world) }
        guard let world else { return [] }
        return await withTaskGroup(of: (Int, String?).self) { group in
            var current = asked
            for (index, challenge) in asked.enumerated() where challenge.status == "pending" {
                group.addTask {
                    let now = try? await world.backend.challenge(
                        serviceSID: world.serviceSID, identity: challenge.identity, sid: challenge.sid)
                    return (index, now?.status)
                }
            }
            for await (index, status) in group { if let status { current[index].status = status } }
            let known = current
            state.withLock { state in
                for challenge in known {
                    if let place = state.asked.firstIndex(where: { $0.sid == challenge.sid }) {
                        state.asked[place].status = challenge.status
                    }
                }
            }
            return current
        }
    }

    // MARK: - Acts

    /// Asks a person something, as a backend would.
    func ask(_ draft: ChallengeDraft, identity: String) async throws -> Asked {
        let world = try world
        let created = try await Self.told {
            try await world.backend.createChallenge(serviceSID: world.serviceSID, identity: identity, draft)
        }
        let content = try? JSONParser.parse(Array(created.json.utf8), .reply)
        let asked = Asked(
            sid: created.sid, identity: identity, message: draft.message, number: created.number,
            atMs: Timestamp.nowMs(), quietUntilMs: content?["beckon"]?.time("quiet_until"), status: created.status)
        state.withLock { state in
            state.asked.prepend(asked)
            if state.asked.count > Self.mostAsked { state.asked.removeLast() }
        }
        changed()
        return asked
    }

    func cancel(_ sid: String) async throws {
        let world = try world
        guard let asked = state.withLock({ $0.asked.first { $0.sid == sid } }) else {
            throw ConsoleRefusal(status: 404, message: "This challenge was not created here.")
        }
        _ = try await Self.told {
            try await world.backend.cancel(
                serviceSID: world.serviceSID, identity: asked.identity, challengeSID: sid)
        }
        changed()
    }

    func answer(_ id: String, _ sid: String, approved: Bool, number: String?) async throws {
        let phone = try seat(id).phone
        do {
            try await phone.answer(sid, approved: approved, number: number)
        } catch {
            throw ConsoleRefusal(status: 409, message: "The phone says: \(error)")
        }
        changed()
    }

    /// What a person can do to a phone.
    enum Deed: String, CaseIterable {
        case on, silence, close, open, offline
    }

    func handle(_ id: String, _ deed: Deed) async throws {
        let phone = try seat(id).phone
        switch deed {
        case .on: phone.become(.answers)
        case .silence: phone.become(.notificationsOff)
        case .close: phone.become(.closed)
        case .offline: phone.become(.offline)
        case .open:
            // The app is in front of the person now, and asks for what no push told it. Its notifications stay off.
            if phone.behaviour != .notificationsOff { phone.become(.answers) }
            await phone.open()
        }
        changed()
    }

    func faults(_ provider: SimulatedProvider) -> ProviderFaults {
        state.withLock { $0.world }?.providers.faults(provider) ?? ProviderFaults()
    }

    func setFaults(_ faults: ProviderFaults, _ provider: SimulatedProvider) throws {
        try world.providers.setFaults(faults, provider)
        changed()
    }

    /// The API's own words about what was wrong with a form.
    private static func told<Value: Sendable>(_ call: () async throws -> Value) async throws -> Value {
        do {
            return try await call()
        } catch let error as BackendError {
            throw ConsoleRefusal(
                status: 400..<500 ~= error.status ? 400 : 502, message: "The API says: \(error.message)")
        }
    }
}
