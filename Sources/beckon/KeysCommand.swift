import ArgumentParser
import ChallengeModel
import ServiceSupport
import Wire

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Makes, lists and rotates keys.",
        discussion: """
            There are four rings of keys. event: signs the records of topic events for readers without record keys; its public
            keys are at /.well-known/beckon-event-keys of the HTTP API. record: signs all other records, and receipt tokens.
            configuration: seals provider credentials on the topic configuration. store: seals the secrets in the store.
            """,
        subcommands: [New.self, List.self, Rotate.self])

    private static let help: ArgumentHelp = "The producer's settings: --config F."

    /// A ring of keys, by the name of its setting.
    enum Ring: String, CaseIterable, ExpressibleByArgument {
        case event, record, store, configuration

        fileprivate var setting: Setting<KeyRing> {
            switch self {
            case .event: Settings.eventKeys
            case .record: Settings.recordKeys
            case .store: Settings.storeKeys
            case .configuration: Settings.configurationKeys
            }
        }
    }

    private static func keys(_ ring: Ring, _ arguments: [String]) async throws -> KeyRing {
        let settings = try await Settings(role: .producer, arguments: arguments)
        guard let keys = try settings.optional(ring.setting) else {
            let name = ring.setting.description.environmentName
            let effect = ring == .event ? ", so events are not signed" : ""
            throw CommandFailure("\(name) is not set\(effect); make a key with `beckon keys new`")
        }
        return keys
    }

    struct New: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "new", abstract: "Prints a new secret key, as id:base64.",
            discussion: "The keys of all rings have this form.")

        @Option(help: "The key's id: 1 to 16 letters, digits, - or _.") var id = "e1"

        func validate() throws {
            guard KeyRing.isKeyID(id.utf8) else {
                throw ValidationError("--id must have 1 to 16 letters, digits, - or _")
            }
        }

        func run() { print(KeyRing.random(id: id).text) }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Prints the public keys of the ring event as a JSON Web Key Set, and of other rings the ids.")

        @Option(help: "The ring.") var ring = Ring.event
        @Argument(parsing: .allUnrecognized, help: KeysCommand.help) var settings: [String] = []

        func run() async throws {
            let keys = try await KeysCommand.keys(ring, settings)
            guard ring != .event else { return print(EventSigner(keys: keys).keySet.text) }
            for (index, key) in keys.keys.enumerated() {
                print(JSONLine([("id", key.id), ("use", index == 0 ? "current" : "former or next")]))
            }
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate",
            abstract: "Makes a key, and prints the values of the variable that replace the first key by it.",
            discussion: """
                Set the values one after the other on every role that has the ring, and restart the roles each time.
                announced: all roles know the new key, and none uses it yet. Go on when all roles run with it (ring event: when your
                readers have fetched the keys). in_use: the new key signs or seals. retired: without the former keys. Before it, wait
                for the longest retention of what they signed (record: 3 hours, and 18 days for dead letters; event: 9 days); for the
                ring store run `beckon secrets reseal` until it names the former keys under retired_keys.
                """)

        @Option(help: "The ring.") var ring = Ring.event
        @Argument(parsing: .allUnrecognized, help: KeysCommand.help) var settings: [String] = []

        func run() async throws {
            let old = try await KeysCommand.keys(ring, settings).keys
            let prefix = ring == .event ? "e" : "k"
            let id = (1...).lazy.map { "\(prefix)\($0)" }.first { id in !old.contains { $0.id == id } }
            let new = KeyRing.random(id: id ?? "k1").keys
            print(
                JSONLine([
                    ("announced", KeyRing(keys: old + new).text), ("in_use", KeyRing(keys: new + old).text),
                    ("retired", KeyRing(keys: new).text),
                ]))
        }
    }
}
