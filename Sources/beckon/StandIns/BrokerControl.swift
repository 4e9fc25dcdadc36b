import Foundation
import HTTPEdge
import Hummingbird
import KafkaClient
import Logging
import ServiceLifecycle
import ServiceSupport

/// The stand-in broker's fault switches:
///
/// - `POST /brokers/1/down`, `POST /brokers/1/up`
/// - `POST /brokers/1/delay?ms=200` (0 takes it away)
/// - `POST /errors?api_key=0&codes=6,6`: the next requests of that API key answer with these Kafka protocol error codes;
///   without codes, those that are left are taken away
struct BrokerControl: Service {
    let broker: EmbeddedBroker
    let logger: Logger
    private let bound = BoundPort()

    init(broker: EmbeddedBroker, logger: Logger) {
        self.broker = broker
        self.logger = logger
    }

    func boundPort() async throws -> Int { try await bound.wait() }

    func run() async throws {
        let router = Router()
        router.post("brokers/:id/:switch") { [broker] request, context in
            guard let id = context.parameters.get("id", as: Int32.self) else {
                throw HTTPError(.badRequest, message: "broker id: expected a number, the first is 1")
            }
            switch context.parameters.get("switch") {
            case "down": return try Self.inject(.brokerDown(id), broker)
            case "up": return try Self.inject(.brokerUp(id), broker)
            case "delay":
                guard let ms = request.uri.queryParameters.get("ms", as: Int32.self), (0...60_000).contains(ms) else {
                    throw HTTPError(.badRequest, message: "ms: expected 0–60000")
                }
                return try Self.inject(.delay(broker: id, milliseconds: ms), broker)
            default: throw HTTPError(.notFound, message: "expected /brokers/<id>/down, up or delay")
            }
        }
        router.post("errors") { [broker] request, _ in
            let query = request.uri.queryParameters
            guard let key = query.get("api_key", as: Int16.self),
                case let texts = (query.get("codes") ?? "").split(separator: ","),
                case let codes = texts.compactMap({ Int16($0) }), codes.count == texts.count, codes.count <= 1000
            else { throw HTTPError(.badRequest, message: "expected ?api_key=<number>&codes=<number>,<number>") }
            return try Self.inject(.requestErrors(apiKey: key, codes: codes), broker)
        }
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let application = Application(
            router: router, configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { [bound, logger] channel in
                await AcceptGuard.install(on: channel, book: nil, logger: logger)
                bound.set(channel.localAddress?.port ?? 0)
            }, logger: quiet)
        try await application.run()
    }

    private static func inject(_ fault: EmbeddedBroker.Fault, _ broker: EmbeddedBroker) throws -> HTTPResponse.Status {
        do {
            try broker.inject(fault)
            return .noContent
        } catch {
            throw HTTPError(.badRequest, message: error.description)
        }
    }
}
