import ArgumentParser
import ChallengeModel
import Challenges
import Foundation
import ServiceSupport
import Storage
import Wire

struct AccountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account", abstract: "Accounts: who may use the API.", subcommands: [Create.self, Rotate.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Makes an account and prints its SID and auth token as one JSON line.",
            discussion: "The auth token is shown this once. " + CommandStore.discussion)

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            let account = try await CommandStore.with(settings) { try await $0.createAccount(nowMs: Timestamp.nowMs()) }
            print(JSONLine([("account_sid", account.sid.rawValue), ("auth_token", account.authToken)]))
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate", abstract: "Makes a new auth token; the former one stays good for a while.",
            discussion:
                "The auth token is shown this once. Webhooks are signed with the new one at once. To end the former one "
                + "before its time, rotate again with --keep-former-hours 0. " + CommandStore.discussion)

        @Option(help: "The account's SID.") var account: String
        @Option(help: "How long the former token stays good, 0 to 720.") var keepFormerHours = 24

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            guard (0...720).contains(keepFormerHours) else {
                throw ValidationError("--keep-former-hours: expected 0 to 720")
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
        commandName: "key", abstract: "API keys: callers that may do less than the account's auth token.",
        subcommands: [Create.self, List.self, Revoke.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Makes an API key and prints its SID and secret as one JSON line.",
            discussion: "The secret is shown this once: only its hash is kept. " + CommandStore.discussion)

        @Option(help: "The account's SID.") var account: String
        @Option(help: "full: everything; send: challenges; enrol: access and session tokens, factors; read: GET only.")
        var role: String
        @Option(help: "At most 64 characters.") var name = ""

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
            commandName: "list", abstract: "Prints the account's API keys, one JSON line each, revoked ones too.",
            discussion:
                "A key of role send+enrol was made before role enrol was split off role send, and may still do both: "
                + "give its caller a key of one of them, and revoke it. " + CommandStore.discussion)

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
            commandName: "revoke", abstract: "Ends an API key: running producers refuse it within 2 seconds.",
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
                throw ValidationError("--key: the account has no such key, or it was revoked before")
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

/// The store as commands open it: beside a producer that may be running.
enum CommandStore {
    static let help: ArgumentHelp = "The producer's settings: --store-path F."
    static let discussion =
        "Takes the producer's --store-path and its keys from the environment; works while a producer runs."

    static func with<Value: Sendable>(
        _ arguments: [String], _ body: @Sendable (ChallengeStore) async throws -> Value
    ) async throws -> Value {
        let settings = try await Settings(role: .producer, arguments: arguments)
        let path = try settings(Settings.storePath)
        do {
            return try await with(settings, path: path, body)
        } catch let error as StoreError {
            throw CommandFailure(advice(error, path: path))
        }
    }

    /// Opens a store, or ends the command with what is to be done.
    static func advising(_ path: String, _ open: () throws -> ChallengeStore) throws -> ChallengeStore {
        do { return try open() } catch let error as StoreError { throw CommandFailure(advice(error, path: path)) }
    }

    static func advice(_ error: StoreError, path: String) -> String {
        switch error {
        case .notFound(.account):
            "--account: the store \(path) has no such account; name one of its own, give the producer's --store-path, "
                + "or make an account with: beckon account create --store-path \(path)"
        case .limit(.keys):
            "the account has 200 keys that are not revoked, the most there may be: end one with beckon key revoke"
        case .failed(let reason): "the store cannot be used: \(reason)"
        case .unavailable(let fault): "the store \(path) cannot be written, nothing was done: \(fault.detail)"
        case .nulInText: "a text holds the control character U+0000: expected texts without it"
        default: "the store refused: \(error)"
        }
    }

    private static func with<Value: Sendable>(
        _ settings: Settings, path: String, _ body: @Sendable (ChallengeStore) async throws -> Value
    ) async throws -> Value {
        let store = try ChallengeStore.sqlite(
            path: path,
            keys: StoreKeys(
                store: try settings(Settings.storeKeys), configuration: try settings(Settings.configurationKeys)),
            logger: RoleContext.logger("account", level: try settings(Settings.logLevel)))
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

/// Ends a command with one line and status 1.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// One JSON object of strings on one line.
struct JSONLine: CustomStringConvertible {
    let members: [(String, String?)]

    init(_ members: [(String, String?)]) { self.members = members }

    var description: String {
        JSONValue.object(members.map { ($0.0, .optional($0.1)) }).text
    }
}
