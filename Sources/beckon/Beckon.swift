import ArgumentParser
import CAllocator
import Foundation
import HTTPEdge
import ServiceSupport

@main
struct Beckon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "beckon",
        abstract: "Pushes verification challenges to a person's devices and makes sure that they arrive.",
        discussion: "Start with `beckon demo`. `beckon ROLE --help` lists the settings of a role.",
        version: "0.1.0",
        groupedSubcommands: [
            CommandGroup(name: "Try it:", subcommands: [DevCommand.self, DemoCommand.self]),
            CommandGroup(
                name: "Roles, one process each:",
                subcommands: [
                    ProducerCommand.self, DispatcherCommand.self, AckTrackerCommand.self, WebhooksCommand.self,
                    ConsoleCommand.self,
                ]),
            CommandGroup(
                name: "Simulators for development:",
                subcommands: [BrokerCommand.self, SimulatorCommand.self, PhoneCommand.self]),
            CommandGroup(
                name: "Tools:",
                subcommands: [
                    DoctorCommand.self, ConfigCommand.self, AccountCommand.self, KeyCommand.self, KeysCommand.self,
                    MigrateCommand.self, StoreCommand.self, TopicsCommand.self, DeadLettersCommand.self,
                    ChallengeCommand.self,
                    SecretsCommand.self, TrackerCommand.self, ReadyCommand.self, MetricsCommand.self,
                    CompletionCommand.self,
                    BenchCommand.self,
                ]),
        ])

    static func main() async {
        // librdkafka writes TLS through OpenSSL, which can raise SIGPIPE before NIO ignores the signal.
        signal(SIGPIPE, SIG_IGN)
        OpenFiles.raiseLimit()
        // Only for dispatchers: with one arena the tracker replays 184,000 records/s instead of 304,000.
        if CommandLine.arguments.dropFirst().first == "dispatcher" { beckon_bound_allocator() }
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            ExitStatus.end(error, isRole: CommandLine.arguments.dropFirst().first.flatMap(Role.init) != nil)
        }
    }
}
