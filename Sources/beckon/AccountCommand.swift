import ArgumentParser
import ChallengeModel
import ChallengeStore
import Foundation
import ServiceSupport

struct AccountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account", abstract: "Accounts: who may use the API.", subcommands: [Create.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Makes an account and prints its SID and auth token as one JSON line.",
            discussion:
                "The auth token is shown this once. Takes the producer's --store-path and its keys from the environment."
        )

        @Argument(parsing: .captureForPassthrough, help: "The producer's settings: --store-path F.")
        var settings: [String] = []

        func run() async throws {
            if settings.contains(where: { ["--help", "-h"].contains($0) }) {
                print(Self.helpMessage())
                return
            }
            let settings = try await Settings(role: .producer, arguments: settings)
            let store = try SQLiteChallengeStore(
                path: try settings(Settings.storePath),
                keys: StoreKeys(
                    store: try settings(Settings.storeKeys), configuration: try settings(Settings.configurationKeys)),
                logger: RoleContext.logger("account", level: try settings(Settings.logLevel)))
            let account = try await store.createAccount(nowMs: Timestamp.nowMs())
            await store.close()
            print("{\"account_sid\":\"\(account.sid)\",\"auth_token\":\"\(account.authToken)\"}")
        }
    }
}
