import ArgumentParser
import AsyncHTTPClient
import DeviceKit
import Logging
import ServiceLifecycle
import ServiceSupport
import Simulators
import Synchronization

struct PhoneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "phone",
        abstract: "Simulates phones that enrol, receive, confirm and answer with real signatures.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon phone --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.phone, arguments: settings)
        context.readiness.fail("phones", "registering")
        let phones = try PhoneService(context)
        do {
            try await context.run([phones]) { await phones.facts() }
        } catch {
            await phones.shutdown()
            throw error
        }
        await phones.shutdown()
    }
}

/// Enrols the phones and runs them until it is stopped.
private final class PhoneService: Service {
    private let context: RoleContext
    private let client: HTTPClient
    private let count: Int
    private let prefix: String
    private let behaviours: [PhoneBehaviour]
    private let platform: String
    private let serviceSID = Mutex<String?>(nil)

    init(_ context: RoleContext) throws {
        self.context = context
        let settings = context.settings
        count = try settings(Settings.phoneCount)
        prefix = try settings(Settings.phoneIdentity)
        platform = try settings(Settings.phonePlatform)
        behaviours = try settings(Settings.phoneBehaviour).split(separator: ",").map { text throws in
            guard let behaviour = PhoneBehaviour(String(text)) else {
                throw SettingsError(
                    "--phone-behaviour: \"\(text)\" is not right; expected one of \(PhoneBehaviour.forms)")
            }
            return behaviour
        }
        client = manyConnectionsClient(count * (1 + SimulatedPhone.mostSheets) + 64)
    }

    func shutdown() async { try? await client.shutdown() }

    func facts() async -> [String: String] {
        // Asked before the phones are registered; the service is known by the time the file is written.
        while serviceSID.withLock({ $0 }) == nil, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(20)) }
        return [
            "service_sid": serviceSID.withLock { $0 } ?? "", "first_identity": Self.identity(prefix, 1),
            "phones": "\(count)",
        ]
    }

    func run() async throws {
        try await cancelWhenGracefulShutdown { [self] in
            let settings = context.settings
            let api = try settings(Settings.phoneAPI)
            let control = try settings(Settings.phoneSimulator)
            let backend = BackendClient(
                apiURL: api, accountSID: try settings(Settings.phoneAccount),
                authToken: try settings(Settings.phoneAuthToken),
                client: client)
            let playground = try await Playground(
                backend: backend,
                devices: DeviceClient(
                    apiURL: api, transport: HTTPClientTransport(client), deadline: .seconds(60)),
                serviceSID: try settings.optional(Settings.phoneService), control: control,
                reception: RemotePushReception(controlURL: control, client: client), client: client)
            let phones = try await playground.pool.enrol(
                serviceSID: playground.serviceSID, identities: (1...count).map { Self.identity(prefix, $0) }
            ) { [behaviours, platform] index in
                let provider: SimulatedProvider =
                    switch platform {
                    case "fcm": .fcm
                    case "hms": .hms
                    case "mixed": index % 2 == 0 ? .apn : .fcm
                    default: .apn
                    }
                return PhonePool.Profile(provider: provider, behaviour: behaviours[index % behaviours.count])
            }
            serviceSID.withLock { $0 = playground.serviceSID }
            context.logger.info("phones registered", metadata: ["count": "\(phones.count)"])
            await withDiscardingTaskGroup { group in
                group.addTask { await playground.pool.run(phones) }
                group.addTask { [context] in
                    // Every phone that receives pushes must be online before this role is ready.
                    let expected = phones.filter { ![.polls, .deleted].contains($0.behaviour) }.count
                    while playground.pool.log.count(.online) + playground.pool.log.count(.offline) < expected,
                        !Task.isCancelled
                    {
                        try? await Task.sleep(for: .milliseconds(20))
                    }
                    context.readiness.pass("phones")
                }
            }
        }
    }

    private static func identity(_ prefix: String, _ number: Int) -> String {
        prefix + String(100_000 + number).dropFirst()
    }
}
