import ArgumentParser
import ChallengeModel
import Challenges
import Foundation
import ServiceSupport
import Storage
import Wire

struct AccountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account", abstract: "Creates accounts, which may use the API, and rotates their auth tokens.",
        subcommands: [Create.self, Rotate.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Creates an account and prints its SID and auth token as one JSON line.",
            discussion: "The auth token is shown only now. " + CommandStore.discussion)

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            let account = try await CommandStore.with(settings) { try await $0.createAccount(nowMs: Timestamp.nowMs()) }
            print(JSONLine([("account_sid", account.sid.rawValue), ("auth_token", account.authToken)]))
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate", abstract: "Creates a new auth token; the former one stays valid for some hours.",
            discussion:
                "The auth token is shown only now. Webhooks are signed with the new token at once. To end the former token "
                + "earlier, rotate again with --keep-former-hours 0. " + CommandStore.discussion)

        @Option(help: "The account's SID.") var account: String
        @Option(help: "Hours for which the former token stays valid, 0 to 720.") var keepFormerHours = 24

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            guard (0...720).contains(keepFormerHours) else {
                throw ValidationError("--keep-former-hours: expected hours from 0 to 720")
            }
            let account = try sid(account, "--account", AccountSID.self)
            let nowMs = Timestamp.nowMs()
            let keepMs = Int64(keepFormerHours) * 3_600_000
            let rotated = try await CommandStore.with(settings) {
                try await $0.rotateAuthToken(account, keepFormerMs: keepMs, nowMs: nowMs)
            }
            print(
                JSONLine([
                    ("account_sid", rotated.sid.rawValue), ("auth_token", rotated.authToken),
                    ("former_valid_until", Timestamp.rfc3339Seconds(nowMs + keepMs)),
                ]))
        }
    }
}

struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Creates, lists and revokes API keys. A key may do less than the account's auth token.",
        subcommands: [Create.self, List.self, Revoke.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Creates an API key and prints its SID and secret as one JSON line.",
            discussion: "The secret is shown only now: the store keeps only its hash. " + CommandStore.discussion)

        @Option(help: "The account's SID.") var account: String
        @Option(help: "full: everything; send: challenges; enrol: access and session tokens, factors; read: GET only.")
        var role: String
        @Option(help: "Name of the key, at most 64 characters.") var name = ""

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            guard let role = AccountRole(rawValue: role), AccountRole.offered.contains(role) else {
                throw ValidationError(
                    "--role: expected one of " + AccountRole.offered.map(\.rawValue).joined(separator: ", "))
            }
            guard name.unicodeScalars.count <= 64 else {
                throw ValidationError("--name: expected at most 64 characters")
            }
            if let expectation = PlainText.expectation(brokenBy: name, .line) {
                throw ValidationError("--name: expected \(expectation)")
            }
            let account = try sid(account, "--account", AccountSID.self)
            let (key, secret) = try await CommandStore.with(settings) { [name] in
                try await $0.createKey(account: account, role: role, friendlyName: name, nowMs: Timestamp.nowMs())
            }
            print(JSONLine(members(key) + [("secret", secret)]))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Prints the account's API keys, including revoked keys, one JSON line each.",
            discussion:
                "A key of role send+enrol was created when role send still had the rights of role enrol, and keeps both. "
                + "Give its caller a key of role send or enrol, then revoke the old key. " + CommandStore.discussion)

        @Option(help: "The account's SID.") var account: String

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            let account = try sid(account, "--account", AccountSID.self)
            try await CommandStore.with(settings) { store in
                var request = PageRequest(size: 500)
                while true {
                    let page = try await store.keys(account: account, page: request)
                    for key in page.items { print(JSONLine(members(key))) }
                    guard let next = page.next else { return }
                    request.after = next
                }
            }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke", abstract: "Revokes an API key; running producers refuse it within 2 seconds.",
            discussion: CommandStore.discussion)

        @Option(help: "The account's SID.") var account: String
        @Option(help: "The key's SID.") var key: String

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            let account = try sid(account, "--account", AccountSID.self)
            let key = try sid(key, "--key", APIKeySID.self)
            let isRevoked = try await CommandStore.with(settings) {
                try await $0.revokeKey(key, account: account, nowMs: Timestamp.nowMs())
            }
            guard isRevoked else {
                throw ValidationError("--key: expected a key of this account that is not revoked")
            }
            print(JSONLine([("sid", key.rawValue), ("revoked", "true")]))
        }
    }
}

private func members(_ key: APIKey) -> [(String, String?)] {
    [
        ("sid", key.sid.rawValue), ("account_sid", key.account.rawValue), ("role", key.role.rawValue),
        ("friendly_name", key.friendlyName), ("date_created", Timestamp.rfc3339Seconds(key.createdAtMs)),
        ("date_revoked", key.revokedAtMs.map { Timestamp.rfc3339Seconds($0) }),
    ]
}

private func sid<Kind: SIDKind>(_ text: String, _ name: String, _ type: SID<Kind>.Type) throws -> SID<Kind> {
    guard let sid = SID<Kind>(text) else {
        throw ValidationError("\(name): expected \(Kind.prefix) and 32 hexadecimal digits")
    }
    return sid
}

/// Opens the store for a command. A producer may be running on the same store.
enum CommandStore {
    static let help: ArgumentHelp = "The producer's settings: --store-path F or --store-url U."
    static let discussion =
        "Needs the producer's --store-path or --store-url, and the producer's keys in the environment. Works while a producer runs."

    static func with<Value: Sendable>(
        _ arguments: [String], _ body: @Sendable (ChallengeStore) async throws -> Value
    ) async throws -> Value {
        let settings = try await Settings(role: .producer, arguments: arguments)
        let location = try StoreLocation(settings)
        do {
            return try await with(settings, location, body)
        } catch let error as StoreError {
            throw failure(error, location)
        }
    }

    /// Opens a store. When it cannot be opened, the command ends with a message that says what to do.
    static func advising(
        _ location: StoreLocation, _ open: () async throws -> ChallengeStore
    ) async throws -> ChallengeStore {
        do { return try await open() } catch let error as StoreError {
            throw failure(error, location)
        }
    }

    /// The end of a command whose store has refused it, or does not answer.
    static func failure(_ error: StoreError, _ location: StoreLocation) -> CommandFailure {
        let isAway = if case .unavailable = error { true } else { false }
        return CommandFailure(
            advice(error, location), status: isAway ? ExitStatus.unreachable : ExitStatus.partly)
    }

    private static func advice(_ error: StoreError, _ location: StoreLocation) -> String {
        let store = location.name
        return switch error {
        case .notFound(.account):
            "--account: the store \(store) has no such account; name an account of this store, set the producer's "
                + "\(location.flag), or create an account with: beckon account create \(location.flag) \(store)"
        case .limit(.keys):
            "the account has 200 keys that are not revoked, which is the maximum: revoke one with beckon key revoke"
        case .failed(let reason): "the store cannot be used: \(reason)"
        case .unavailable(let fault) where fault.mayBeDone:
            "the store \(store) has not said whether the change was made: look before you repeat it: \(fault.detail)"
        case .unavailable(let fault): "the store \(store) cannot be written; nothing was changed: \(fault.detail)"
        case .nulInText: "a text contains the control character U+0000: expected text without it"
        default: CommandFailure(Problem(error)).description
        }
    }

    private static func with<Value: Sendable>(
        _ settings: Settings, _ location: StoreLocation,
        _ body: @Sendable (ChallengeStore) async throws -> Value
    ) async throws -> Value {
        let store = try await location.openBeside(
            settings, logger: RoleContext.logger("account", level: try settings(Settings.logLevel)))
        do {
            let value = try await ChangeContext.$current.withValue(ChangeContext(actor: "operator")) {
                try await body(store)
            }
            await store.close()
            return value
        } catch {
            await store.close()
            throw error
        }
    }
}

/// Ends a command with one line and a status.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String
    /// 1, unless something else is given.
    let status: ExitCode

    init(_ description: String, status: ExitCode = ExitStatus.partly) {
        self.description = description
        self.status = status
    }

    /// The refusal that the API would answer with, and its code (`docs/errors.md`).
    init(_ problem: Problem) { self.init("\(problem.message) (error \(problem.code.rawValue))") }
}

/// One JSON object of strings on one line.
struct JSONLine: CustomStringConvertible {
    let members: [(String, String?)]

    init(_ members: [(String, String?)]) { self.members = members }

    var description: String {
        JSONValue.object(members.map { ($0.0, .optional($0.1)) }).text
    }
}
