import ArgumentParser
import Challenges
import ServiceSupport

struct SecretsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "secrets", abstract: "Manages the keys that seal the secrets in the store.",
        subcommands: [Reseal.self])

    struct Reseal: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reseal",
            abstract: "Seals every secret of the store again with the first key of BECKON_STORE_KEYS.",
            discussion:
                "To rotate a key: add the new key behind the old key on every producer and webhook relay and restart them, "
                + "put it in front of the old key and restart them again, and run this command. "
                + "Remove the old key when the last line names it under retired_keys. After an interruption, the next "
                + "run continues where the last one stopped. Prints one JSON line per step. "
                + CommandStore.discussion)

        @Argument(parsing: .allUnrecognized, help: CommandStore.help)
        var settings: [String] = []

        func run() async throws {
            let result = try await CommandStore.with(settings) { store in
                try await store.reseal { step in
                    print(
                        JSONLine([
                            ("place", step.place), ("resealed", "\(step.resealed)"), ("failed", "\(step.failed)"),
                        ]))
                }
            }
            print(
                JSONLine([
                    ("key", result.keyID), ("resealed", "\(result.resealed)"), ("failed", "\(result.failed)"),
                    ("retired_keys", result.retired.joined(separator: ",")),
                ]))
            guard result.failed == 0 else {
                throw CommandFailure(
                    "\(result.failed) values are damaged: no key opens them, and they were not changed; create their resources again"
                )
            }
        }
    }
}
