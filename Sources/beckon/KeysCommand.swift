import ArgumentParser
import ChallengeModel
import ServiceSupport
import Wire

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Makes, lists and rotates the keys that sign events.",
        discussion: """
            BECKON_EVENT_KEYS signs the records of topic events. Readers check the header beckon-signature with the public keys,
            which the HTTP API serves at /.well-known/beckon-event-keys.
            """,
        subcommands: [New.self, List.self, Rotate.self])

    private static let help: ArgumentHelp = "The producer's settings: --config F."

    private static func keys(_ arguments: [String]) async throws -> KeyRing {
        let settings = try await Settings(role: .producer, arguments: arguments)
        guard let keys = try settings.optional(Settings.eventKeys) else {
            throw CommandFailure(
                "BECKON_EVENT_KEYS is not set, so events are not signed; make a key with `beckon keys new`")
        }
        return keys
    }

    struct New: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "new", abstract: "Prints a new secret key for BECKON_EVENT_KEYS, as id:base64.",
            discussion: "The other key rings (record, store and configuration keys) have the same form.")

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
            commandName: "list", abstract: "Prints the public keys of BECKON_EVENT_KEYS as a JSON Web Key Set.")

        @Argument(parsing: .allUnrecognized, help: KeysCommand.help) var settings: [String] = []

        func run() async throws { print(EventSigner(keys: try await KeysCommand.keys(settings)).keySet.text) }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate",
            abstract: "Makes a key, and prints the values of BECKON_EVENT_KEYS that replace the first key by it.",
            discussion: """
                Set the values one after the other on every producer and ack tracker, and restart them each time:
                announced is published and signs nothing yet; in_use signs; retired ends the old keys. Between announced and
                in_use, wait until your readers have fetched the keys. Before retired, wait for the retention of topic events.
                """)

        @Argument(parsing: .allUnrecognized, help: KeysCommand.help) var settings: [String] = []

        func run() async throws {
            let old = try await KeysCommand.keys(settings).keys
            let id = (1...).lazy.map { "e\($0)" }.first { id in !old.contains { $0.id == id } }
            let new = KeyRing.random(id: id ?? "e1").keys
            print(
                JSONLine([
                    ("announced", KeyRing(keys: old + new).text), ("in_use", KeyRing(keys: new + old).text),
                    ("retired", KeyRing(keys: new).text),
                ]))
        }
    }
}
