import AsyncHTTPClient
import DeviceKit
import Foundation
import Hummingbird
import Testing

@testable import Simulators

@Suite("Simulated phones against a small server", .timeLimit(.minutes(5)))
struct PhoneTests {
    struct Bench: Sendable {
        var server: MiniVerify
        var network: PushNetwork
        var pool: PhonePool
        var client: HTTPClient

        func phone(_ behaviour: PhoneBehaviour, _ provider: SimulatedProvider = .apn) async throws -> SimulatedPhone {
            try await pool.enrol(
                serviceSID: "VA1", identity: "user-0001", name: "p",
                profile: .init(
                    provider: provider, appID: "dev.app", behaviour: behaviour, pollInterval: .milliseconds(50)))
        }

        /// As the dispatcher's push would arrive.
        func push(
            _ phone: SimulatedPhone, _ challenge: String, _ kind: String = "visible", dispatch: String = "c",
            expiresAt: String = "2099-01-01T00:00:00Z", factor: String? = nil
        ) {
            let registration = phone.device.registration
            network.accept(
                makePush(
                    phone.provider, token: registration.pushToken ?? "",
                    values: [
                        "type": "verify_push_challenge", "challenge_sid": challenge,
                        "factor_sid": factor ?? registration.factorSID, "message": "Log in?", "dispatch": dispatch,
                        "kind": kind, "expires_at": expiresAt, "receipt_token": "r-\(dispatch)-\(kind)",
                    ]), drops: false, nowMs: SimulatorClock.systemMs())
        }

        /// Until so many requests have waited at the server.
        func waits(_ count: Int) async throws {
            let end = ContinuousClock.now + .seconds(90)
            while server.waits < count {
                guard ContinuousClock.now < end else { throw SimulatorError("\(server.waits) waited, not \(count)") }
                try await Task.sleep(for: .milliseconds(5))
            }
        }

        /// Runs a phone while `body` looks on.
        func run(_ phone: SimulatedPhone, _ body: @escaping @Sendable () async throws -> Void) async throws {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await phone.run() }
                try await body()
                group.cancelAll()
            }
        }
    }

    static func run(_ body: @escaping @Sendable (Bench) async throws -> Void) async throws {
        let server = MiniVerify()
        let (ports, port) = AsyncStream.makeStream(of: Int.self, bufferingPolicy: .bufferingNewest(1))
        let application = Application(
            router: server.router(), configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { port.yield($0.localAddress?.port ?? 0) }, logger: quiet)
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await application.run() }
                for await port in ports {
                    let url = "http://127.0.0.1:\(port)"
                    let network = PushNetwork()
                    let pool = PhonePool(
                        backend: BackendClient(apiURL: url, accountSID: "AC1", authToken: "secret", client: client),
                        devices: DeviceClient(apiURL: url, transport: HTTPClientTransport(client)), reception: network,
                        concurrency: 4)
                    try await body(Bench(server: server, network: network, pool: pool, client: client))
                    break
                }
                group.cancelAll()
                while (try? await group.next()) != nil {}
            }
        } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    @Test("answers and denies show, confirm, fetch and answer", arguments: [PhoneBehaviour.answers, .denies])
    func answers(behaviour: PhoneBehaviour) async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(behaviour)
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge)
                bench.push(phone, challenge, dispatch: "t1")
                let word = behaviour == .answers ? "approved" : "denied"
                try await phone.log.wait(for: .answered, challenge: challenge) { $0.detail == word }
                try await phone.log.wait(for: .confirmed, challenge: challenge, count: 2)
                #expect(bench.server.status(challenge) == word)
                #expect(phone.displayedCount == 1 && phone.log.count(.answered) == 1)
                #expect(bench.server.receipts.allSatisfy { $0.channel == "visible" && $0.shown == "yes" })
            }
        }
    }

    @Test("ignores confirms and never answers; expired pushes and those for another factor do nothing")
    func ignores() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.ignores)
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge, dispatch: "old", expiresAt: "2020-01-01T00:00:00Z")
                bench.push(phone, challenge, dispatch: "other", factor: "YF" + String(repeating: "9", count: 32))
                bench.push(phone, challenge)
                try await phone.log.wait(for: .ignored, count: 2)
                try await phone.log.wait(for: .confirmed, challenge: challenge)
                #expect(bench.server.receipts.map(\.token) == ["r-c-visible"])
                #expect(bench.server.status(challenge) == "pending" && phone.log.count(.answered) == 0)
            }
        }
    }

    @Test("drops:1 loses the first push and answers the second")
    func drops() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.drops(1))
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge)
                try await phone.log.wait(for: .lost)
                #expect(bench.server.receipts.isEmpty)
                bench.push(phone, challenge, dispatch: "t1")
                try await phone.log.wait(for: .answered)
                #expect(bench.server.receipts.map(\.token) == ["r-t1-visible"])
            }
        }
    }

    @Test("with notifications off only the background push runs the app, which says so beside the receipt and answers")
    func notificationsOff() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.answers)
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                phone.become(.notificationsOff)
                try await phone.log.wait(for: .online, count: 2)
                #expect(bench.server.notifications.isEmpty, "no code of the app has run since")
                bench.push(phone, challenge)
                try await phone.log.wait(for: .lost)
                bench.push(phone, challenge, "background")
                try await phone.log.wait(for: .answered)
                #expect(bench.server.notifications == ["false"])
                bench.push(phone, challenge, "background", dispatch: "t1")
                try await phone.log.wait(for: .confirmed, count: 2)
                #expect(
                    bench.server.receipts == [
                        .init(token: "", channel: "background", shown: "no"),
                        .init(token: "r-t1-background", channel: "background", shown: "no"),
                    ])
                #expect(phone.displayedCount == 0)
                #expect(bench.server.notifications == ["false"], "the server was told, once")
                phone.become(.answers)
                try await phone.log.wait(for: .reported, count: 2)
                #expect(bench.server.notifications == ["false", "true"])
            }
        }
    }

    @Test("opened, an app with notifications off says so")
    func notificationsOffOpened() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.answers)
            phone.become(.notificationsOff)
            await phone.open()
            await phone.open()
            #expect(bench.server.notifications == ["false"])
        }
    }

    @Test("a closed app keeps ids and confirms; opened, it answers those, then what no push told it")
    func closed() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.closed)
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            let other = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge)
                bench.push(phone, challenge, dispatch: "t1")
                try await phone.log.wait(for: .confirmed, count: 2)
                #expect(phone.inbox.entries.map(\.challengeSID) == [challenge])
                #expect(bench.server.fetched.isEmpty && bench.server.status(challenge) == "pending")
                await phone.open()
                #expect(bench.server.status(challenge) == "approved" && bench.server.status(other) == "approved")
                #expect(phone.log.events.filter { $0.kind == .fetched }.map(\.challengeSID) == [challenge, other])
                #expect(phone.log.events.filter { $0.kind == .polled }.map(\.detail) == ["1"])
                #expect(phone.inbox.entries.isEmpty && phone.displayedCount == 1)
            }
        }
    }

    @Test("an open sheet waits at the server and closes when its challenge is over", arguments: ["expired", "denied"])
    func sheet(status: String) async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.ignores)
            let factor = phone.device.registration.factorSID
            let challenges = (0..<2).map { _ in bench.server.create(for: factor) }
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                for challenge in challenges { bench.push(phone, challenge) }
                try await phone.log.wait(for: .confirmed, count: 2)
                try await bench.waits(2)
                bench.server.end(challenges[0], status)
                let event = try await phone.log.wait(for: .withdrawn, challenge: challenges[0], deadline: .seconds(90))
                #expect(event.detail == status)
                #expect(phone.shown == [challenges[1]] && phone.log.count(.withdrawn) == 1)
                #expect(bench.server.waits == 2, "it waits and does not ask again and again")
                // A phone that was away from its app and comes back has the sheet open again.
                phone.become(.closed)
                try await phone.log.wait(for: .online, count: 2)
                bench.server.refuseWaits(1)
                phone.become(.ignores)
                // The third was told that the server is busy.
                try await bench.waits(4)
                bench.server.end(challenges[1], status)
                try await phone.log.wait(for: .withdrawn, challenge: challenges[1], deadline: .seconds(90))
            }
        }
    }

    @Test(
        "two challenges of one action while the app is closed: the extension takes the older away, and cannot hold back its own",
        arguments: [SimulatedProvider.apn, .fcm])
    func extensionShowsActionOnce(provider: SimulatedProvider) async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.closed, provider)
            let factor = phone.device.registration.factorSID
            let first = bench.server.create(for: factor, action: "a")
            let late = bench.server.create(for: factor)
            bench.server.end(late)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, first)
                try await phone.log.wait(for: .confirmed, challenge: first)
                bench.server.end(first)
                let second = bench.server.create(for: factor, action: "a")
                bench.push(phone, second)
                try await phone.log.wait(for: .confirmed, challenge: second)
                #expect(phone.shown == [second])
                #expect(phone.log.events.filter { $0.kind == .withdrawn }.map(\.challengeSID) == [first])
                // One that was over before it came.
                bench.push(phone, late)
                try await phone.log.wait(for: .confirmed, challenge: late)
                #expect(phone.shown == (provider == .apn ? [second, late] : [second]))
                await phone.open()
                #expect(phone.shown.isEmpty && bench.server.status(second) == "approved")
            }
        }
    }

    @Test("installed again, the app has another key, and nothing of the old one is left")
    func reinstalls() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.closed)
            let old = phone.device.registration
            let challenge = bench.server.create(for: old.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge)
                try await phone.log.wait(for: .confirmed)
                phone.become(.reinstalls)
                let enrolled = try await phone.log.wait(for: .enrolled)
                try await phone.log.wait(for: .online, count: 2)
                let new = phone.device.registration
                #expect(new.factorSID == enrolled.detail && new.factorSID != old.factorSID && new.isVerified)
                #expect(new.pushToken == old.pushToken)
                #expect(phone.shown.isEmpty && phone.inbox.entries.isEmpty && phone.behaviour == .answers)
                bench.push(phone, challenge, factor: old.factorSID)
                try await phone.log.wait(for: .ignored, challenge: challenge)
                let next = bench.server.create(for: new.factorSID)
                bench.push(phone, next)
                try await phone.log.wait(for: .answered, challenge: next)
            }
        }
    }

    @Test("polls gets no pushes and answers what it finds")
    func polls() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.polls)
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .answered, challenge: challenge)
                #expect(bench.server.status(challenge) == "approved")
                #expect(!bench.network.isOnline(.apn, token: phone.device.registration.pushToken ?? ""))
            }
        }
    }

    @Test("a forged answer is refused, and the challenge stays pending")
    func forges() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.forges)
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge)
                let event = try await phone.log.wait(for: .refused, challenge: challenge)
                #expect(event.detail == "forged: 403 code 60324")
                #expect(bench.server.status(challenge) == "pending")
            }
        }
    }

    @Test("slow waits before it does anything")
    func slow() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.slow(300))
            let challenge = bench.server.create(for: phone.device.registration.factorSID)
            try await bench.run(phone) {
                try await phone.log.wait(for: .online)
                bench.push(phone, challenge)
                let pushed = try await phone.log.wait(for: .pushed)
                let confirmed = try await phone.log.wait(for: .confirmed)
                #expect(confirmed.atMs - pushed.atMs >= 300)
                try await phone.log.wait(for: .answered)
            }
        }
    }

    @Test("an offline phone that comes online gets what APNs stored: the latest")
    func offline() async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.offline)
            let factor = phone.device.registration.factorSID
            let first = bench.server.create(for: factor)
            let second = bench.server.create(for: factor)
            try await bench.run(phone) {
                try await phone.log.wait(for: .offline)
                bench.push(phone, first)
                bench.push(phone, second)
                phone.become(.answers)
                try await phone.log.wait(for: .answered, challenge: second)
                #expect(bench.server.status(first) == "pending")
                #expect(bench.network.counters(.apn).displaced == 1)
            }
        }
    }

    @Test("a deleted app's token is unregistered at its provider", arguments: SimulatedProvider.allCases)
    func deleted(provider: SimulatedProvider) async throws {
        try await Self.run { bench in
            let phone = try await bench.phone(.deleted, provider)
            try await bench.run(phone) {
                try await phone.log.wait(for: .deleted)
                let standing = bench.network.standing(provider, phone.device.registration.pushToken ?? "")
                if case .unregistered = standing {} else { Issue.record("\(standing)") }
            }
        }
    }

    @Test("a pool enrols its phones with bounded concurrency, in order, and their log is one")
    func pool() async throws {
        try await Self.run { bench in
            let identities = (0..<20).map { "user-\(1000 + $0)" }
            let phones = try await bench.pool.enrol(serviceSID: "VA1", identities: identities) { index in
                .init(provider: index % 2 == 0 ? .apn : .fcm)
            }
            #expect(phones.map(\.device.registration.identity) == identities)
            #expect(bench.server.verifiedCount == 20 && phones.allSatisfy { $0.device.registration.isVerified })
            #expect(1...4 ~= bench.server.mostEnrolmentsAtOnce)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await bench.pool.run(phones) }
                try await bench.pool.log.wait(for: .online, count: 20)
                for phone in phones {
                    bench.push(phone, bench.server.create(for: phone.device.registration.factorSID))
                }
                try await bench.pool.log.wait(for: .answered, count: 20)
                group.cancelAll()
            }
        }
    }

    @Test("waiting for what does not happen ends at the deadline and says what did")
    func waiting() async throws {
        let log = PhoneLog()
        log.record(PhoneEvent(atMs: 0, phone: "p", kind: .online, challengeSID: nil, detail: ""))
        await #expect {
            try await log.wait(for: .answered, deadline: .milliseconds(50))
        } throws: { ($0 as? SimulatorError)?.message.contains("online") == true }
    }
}
