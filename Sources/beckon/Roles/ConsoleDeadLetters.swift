import ChallengeModel
import Challenges
import Console
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Wire

/// The topic of dead letters for the console, and the audit trail that each replay is written to first.
struct ConsoleDeadLetters: Sendable {
    let archive: DeadLetterArchive
    let kafka: KafkaConfiguration
    let store: ChallengeStore
    /// Whose audit trail has the replays.
    let account: AccountSID
    let logger: Logger

    /// Records that are read at most for a list, and that it shows.
    private static let (scan, shown) = (20_000, 200)

    /// With the settings of the role; nil: it knows no Kafka.
    /// - Throws: `SettingsError` when Kafka is set and something else is missing that the page needs.
    static func opened(_ context: RoleContext, _ configuration: ConsoleConfiguration) async throws -> Self? {
        let settings = context.settings
        guard try settings.optional(Settings.kafkaServers) != nil else { return nil }
        guard let api = configuration.api else {
            throw SettingsError(
                "console.apiUrl and console.apiKey are missing: the replays of dead letters go to the audit trail of the key's account"
            )
        }
        let kafka = try settings.kafka()
        let signer = RecordSigner(
            names: TopicNames(prefix: try settings(Settings.topicPrefix)),
            authenticator: RecordAuthenticator(keys: try settings(Settings.recordKeys)))
        // It only reads the account of its key, and writes a line of the audit trail for each replay.
        let store = try await StoreLocation(settings).openToRelay(settings, connections: 2, logger: context.logger)
        do {
            guard let login = Login(sid: api.keySID, secret: api.secret),
                let account = try await store.account(of: login)
            else { throw SettingsError("console.apiKey: expected the SID of an account or of one of its keys") }
            return Self(
                archive: DeadLetterArchive(kafka: kafka, signer: signer, logger: context.logger), kafka: kafka,
                store: store, account: account, logger: context.logger)
        } catch {
            await store.close()
            throw error
        }
    }

    var box: DeadLetterBox {
        DeadLetterBox(
            topics: Topic.allCases.map(\.rawValue).filter { $0 != Topic.deadLetters.rawValue },
            list: { try await list($0) },
            audit: { act, subject, reader in
                try await store.recordAct(
                    act, account: account, subject: subject, actor: "console:\(reader)", nowMs: Timestamp.nowMs())
            }, replay: { try await replay($0, id: $1) })
    }

    private func list(_ wanted: DeadLetterBox.Filter) async throws -> (
        letters: [DeadLetterBox.Letter], isComplete: Bool
    ) {
        var filter = DeadLetterFilter()
        if let topic = wanted.topic.flatMap({ Topic(rawValue: $0) }) { filter.topics = [topic] }
        if let reason = wanted.reason { filter.reasons = [reason] }
        filter.key = wanted.key
        let page = try await archive.list(filter, limit: Self.shown, scan: Self.scan, deadline: .seconds(10))
        let nowMs = Timestamp.nowMs()
        let letters = page.letters.map { letter in
            DeadLetterBox.Letter(
                id: letter.id.description, writtenAtMs: letter.writtenAtMs,
                topic: letter.topic?.rawValue ?? letter.topicName, reason: letter.reason, detail: letter.detail,
                key: String(decoding: letter.key.prefix(64), as: UTF8.self), byteCount: letter.valueByteCount,
                refusal: letter.refusal(nowMs: nowMs)?.explanation)
        }
        return (letters, page.isComplete && page.selected <= page.letters.count)
    }

    private func replay(_ ids: [String], id: String) async throws -> DeadLetterBox.Report {
        let producer = try KafkaProducer(configuration: kafka, logger: logger)
        let result: Result<ReplayReport, any Error>
        do {
            result = .success(
                try await DeadLetterReplay(archive: archive, producer: producer) { Timestamp.nowMs() }.run(
                    Set(ids.compactMap { DeadLetter.ID($0) }), id: id, deadline: .seconds(25)))
        } catch {
            result = .failure(error)
        }
        await producer.close(deadline: .seconds(5))
        let report = try result.get()
        return ids.map { text in
            switch DeadLetter.ID(text).flatMap({ report.fates[$0] }) {
            case .replayed: (text, nil)
            case .refused(let refusal): (text, refusal.explanation)
            case .failed(let name): (text, "the broker refuses it: \(name)")
            case nil: (text, "left: the replay stopped before it")
            }
        }
    }
}

extension Login {
    /// `AC…` with its auth token, or `SK…` with its secret; nil: neither.
    fileprivate init?(sid: String, secret: String) {
        if let account = AccountSID(sid) {
            self = .account(account, authToken: secret)
        } else if let key = APIKeySID(sid) {
            self = .key(key, secret: secret)
        } else {
            return nil
        }
    }
}
