import ArgumentParser
import ChallengeModel
import Challenges
import DeviceKit
import Storage
import Wire

/// `beckon bench fill`: a store as it is after weeks of work.
struct BenchFillCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fill",
        abstract: "Adds an account with people, devices and answered challenges of the last 29 days to a SQLite store.",
        discussion: """
            For measurements of a full store, of `beckon store copy` for example. Prints: account_sid, service_sid, people, \
            challenges, seconds.
            """)

    @Option(help: "Identities, with one device each.") var people = 100_000
    @Option(help: "Approved challenges, over all people in turn.") var challenges = 1_000_000
    @Option(help: "Delivery facts of each challenge.") var facts = 2
    @Option(help: "Events in the audit trail for each challenge.") var audit = 2

    @Argument(parsing: .allUnrecognized, help: CommandStore.help)
    var settings: [String] = []

    func validate() throws {
        guard (1...10_000_000).contains(people), (0...100_000_000).contains(challenges), (0...10).contains(facts),
            (0...10).contains(audit)
        else {
            throw ValidationError(
                "expected --people 1 to 10000000, --challenges 0 to 100000000, --facts and --audit 0 to 10")
        }
    }

    func run() async throws {
        let start = ContinuousClock.now
        let (people, challenges, facts, audit) = (people, challenges, facts, audit)
        let (account, service) = try await CommandStore.with(settings) { store in
            let nowMs = Timestamp.nowMs()
            let account = try await store.createAccount(nowMs: nowMs).sid
            let service = try await store.createService(
                NewService(account: account, friendlyName: "bench"), nowMs: nowMs
            ).sid
            var fill = StoreFill(
                account: account, service: service, people: people, closedChallenges: challenges,
                publicKey: SoftwareKey().publicKeyDER)
            (fill.factsPerChallenge, fill.auditPerChallenge) = (facts, audit)
            try await store.fill(fill, nowMs: nowMs)
            return (account, service)
        }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        print(
            """
            {"account_sid":"\(account)","service_sid":"\(service)","people":\(people),"challenges":\(challenges),\
            "seconds":\((seconds * 10).rounded() / 10)}
            """)
    }
}
