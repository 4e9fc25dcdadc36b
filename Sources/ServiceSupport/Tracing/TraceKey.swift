/// The names of span attributes, after OpenTelemetry's semantic conventions 1.44.0 (``schemaURL``). Version 1.45 renames
/// the messaging attributes, so they are in this file only.
package enum TraceKey: String, Sendable {
    static let schemaURL = "https://opentelemetry.io/schemas/1.44.0"

    case httpMethod = "http.request.method"
    /// The template of the route, never the path: paths contain identities.
    case httpRoute = "http.route"
    case httpStatus = "http.response.status_code"
    case urlScheme = "url.scheme"
    case serverAddress = "server.address"
    case serverPort = "server.port"
    /// A word of a small, fixed set.
    case errorType = "error.type"

    case messagingSystem = "messaging.system"
    case messagingOperation = "messaging.operation.name"
    case messagingOperationType = "messaging.operation.type"
    case messagingTopic = "messaging.destination.name"
    /// A text, although it is a number.
    case messagingPartition = "messaging.destination.partition.id"
    case messagingGroup = "messaging.consumer.group.name"
    case messagingOffset = "messaging.kafka.offset"
    /// Only for topics whose key is a SID.
    case messagingKey = "messaging.kafka.message.key"

    case challenge = "beckon.challenge_sid"
    case factor = "beckon.factor_sid"
    case requestID = "beckon.request_id"
    case provider = "beckon.provider"
    case dispatch = "beckon.dispatch_id"
    case disposition = "beckon.disposition"
    case pushKind = "beckon.push_kind"
    case decision = "beckon.decision"
    case apnsID = "apns-id"
    case webhook = "beckon.webhook_sid"
    case eventType = "beckon.event_type"
}
