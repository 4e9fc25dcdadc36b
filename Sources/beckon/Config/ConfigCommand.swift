import ArgumentParser
import ServiceSupport
import Wire

/// The configuration of a role as its process would read it, without starting the process.
struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Checks the configuration of a role, and prints each value with its source.",
        discussion: """
            Reads flags, BECKON_… variables and the YAML file as the role does: give the same flags and run the command in the
            same environment. It connects to nothing and opens no store.
            """,
        subcommands: [Check.self, Print.self])

    private static let help: ArgumentHelp = "The role's settings, as the role takes them: --config F, --key value."
    private static let roleHelp: ArgumentHelp = "The role whose configuration is read."

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Says everything that is wrong with the configuration of a role.",
            discussion: """
                An unknown flag, variable or key is named with the nearest known one. Exit status: 0 nothing is wrong; 2 the role
                would not start.
                """)

        @Option(help: ConfigCommand.roleHelp) var role: Role
        @Flag(help: "Print one JSON object.") var json = false
        @Argument(parsing: .allUnrecognized, help: ConfigCommand.help) var settings: [String] = []

        func run() async throws {
            let problems = await ConfigCommand.problems(role, settings)
            if json {
                Terminal.line(
                    JSONValue.object([
                        ("role", .string(role.rawValue)), ("ok", .boolean(problems.isEmpty)),
                        ("problems", .array(problems.map { .string($0) })),
                    ]).text)
            } else if problems.isEmpty {
                Terminal.line("The configuration of \(role.rawValue) is right.")
            } else {
                for problem in problems { Terminal.line(EscapingLogHandler.escaped(problem)) }
            }
            if !problems.isEmpty { throw ExitStatus.wrongUse }
        }
    }

    struct Print: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "print",
            abstract: "Prints the value of every key of a role, and where it comes from.",
            discussion: """
                The source is a flag, an environment variable, the file, or the default. Secrets are not shown; of a key ring the
                ids of its keys are shown. A value that is wrong is marked; exit status 2 then, otherwise 0.
                """)

        @Option(help: ConfigCommand.roleHelp) var role: Role
        @Flag(help: "Print one JSON object per key and line.") var json = false
        @Flag(help: "Leave out keys that have their default.") var changed = false
        @Argument(parsing: .allUnrecognized, help: ConfigCommand.help) var settings: [String] = []

        func run() async throws {
            let settings = try await Settings(role: role, arguments: settings)
            let readings = settings.readings(for: role)
            let shown = readings.filter { !changed || $0.source != nil || $0.problem != nil }
            if json {
                for reading in shown { Terminal.line(Self.object(reading).text) }
            } else {
                let rows = shown.map { reading in
                    [
                        reading.about.key, reading.text ?? "–",
                        reading.source ?? (reading.text == nil ? "" : "default"),
                        reading.problem == nil ? "" : "WRONG, see beckon config check",
                    ]
                }
                for line in Columns.lines(["key", "value", "source", ""], rows) { Terminal.line(line) }
            }
            if readings.contains(where: { $0.problem != nil }) { throw ExitStatus.wrongUse }
        }

        private static func object(_ reading: SettingReading) -> JSONValue {
            .object([
                ("key", .string(reading.about.key)), ("value", .optional(reading.text)),
                ("origin", .string(reading.origin?.rawValue ?? "default")), ("source", .optional(reading.source)),
                ("secret", .boolean(reading.about.isSecret)), ("required", .boolean(reading.about.isRequired)),
                ("environment", .string(reading.about.environmentName)), ("problem", .optional(reading.problem)),
            ])
        }
    }

    /// Everything that keeps the role from starting. The values of the keys first, then what they must be together.
    private static func problems(_ role: Role, _ arguments: [String]) async -> [String] {
        let settings: Settings
        do { settings = try await Settings(role: role, arguments: arguments) } catch { return ["\(error)"] }
        let found = settings.readings(for: role).compactMap(\.problem)
        guard found.isEmpty else { return found }
        do { try RoleConfigurations.check(role, settings) } catch { return ["\(error)"] }
        return []
    }
}
