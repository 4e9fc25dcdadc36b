public import ChallengeModel
public import GuardedHTTP
import Wire

/// What signs the requests of one webhook.
public struct WebhookCredentials: Sendable {
    /// The account's present auth token.
    public var authToken: String
    /// The webhook's present secret, and the former one while both are valid; none for a webhook that has none yet.
    public var secrets: [WebhookSecret]

    public init(authToken: String, secrets: [WebhookSecret]) {
        self.authToken = authToken
        self.secrets = secrets
    }
}

/// One event for one webhook as a signed HTTP request. Made anew for each attempt, because the time of the attempt is
/// signed.
public struct WebhookRequest: Sendable {
    /// Path and query.
    public let target: String
    /// Beside `Host` and `Content-Length`, which the connection adds.
    public let headers: [(name: String, value: String)]
    public let body: [UInt8]

    /// - Parameters:
    ///   - event: as read.
    ///   - bytes: its record's value, sent unchanged in the formats that send the whole event.
    ///   - webhook: SID.
    ///   - version: `v1` or `v2` of the form.
    ///   - timestamp: of the attempt, in seconds.
    ///   - traceparent: the trace context in the form of ``TraceContext/text``.
    public init(
        _ event: CloudEvent, bytes: [UInt8], webhook: String, url: CustomerURL, format: WebhookFormat, version: String,
        credentials: WebhookCredentials, timestamp: Int64, traceparent: String? = nil
    ) {
        let id = StandardWebhooks.messageID(event: event.id, webhook: webhook)
        let (contentType, signature): (String, String)
        var attributes: [(name: String, value: String)] = []
        switch format {
        case .form:
            let fields = FormBody.fields(of: event, version: version)
            body = Array(Form.encode(fields).utf8)
            contentType = Self.formType
            target = url.target
            signature = TwilioSignature.form(url: url.text, parameters: fields, authToken: credentials.authToken)
        case .json, .structured, .binary:
            body = format == .binary ? EventValue.object(event.data).jsonBytes() : bytes
            contentType = format == .structured ? "application/cloudevents+json" : "application/json"
            (target, signature) = TwilioSignature.body(
                body, url: url.text, target: url.target, authToken: credentials.authToken)
            if format == .binary { attributes = Self.attributes(of: event) }
        }
        headers = Self.headers(
            contentType, signature, attributes, id: id, body: body, credentials, timestamp, traceparent)
    }

    /// A form of fields.
    /// - Parameters:
    ///   - fields: names distinct, values as ``FormBody`` makes them.
    ///   - id: as ``StandardWebhooks/messageID(event:webhook:)`` makes it.
    init(
        form fields: [(name: String, value: String)], id: String, url: CustomerURL, credentials: WebhookCredentials,
        timestamp: Int64, traceparent: String? = nil
    ) {
        body = Array(Form.encode(fields).utf8)
        target = url.target
        headers = Self.headers(
            Self.formType,
            TwilioSignature.form(url: url.text, parameters: fields, authToken: credentials.authToken), [], id: id,
            body: body, credentials, timestamp, traceparent)
    }

    private static let formType = "application/x-www-form-urlencoded"

    private static func headers(
        _ contentType: String, _ signature: String, _ attributes: [(name: String, value: String)], id: String,
        body: [UInt8], _ credentials: WebhookCredentials, _ timestamp: Int64, _ traceparent: String?
    ) -> [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = [("User-Agent", "Beckon-Webhooks/1")]
        headers += attributes
        headers.append(("Content-Type", contentType))
        headers.append((TwilioSignature.headerName, signature))
        headers.append(("I-Twilio-Idempotency-Token", id))
        headers.append((StandardWebhooks.idHeader, id))
        headers.append((StandardWebhooks.timestampHeader, String(timestamp)))
        if !credentials.secrets.isEmpty {
            headers.append(
                (
                    StandardWebhooks.signatureHeader,
                    StandardWebhooks.signature(
                        id: id, timestamp: timestamp, body: body, secrets: credentials.secrets)
                ))
        }
        if let traceparent {
            let (parent, state) = TraceContext.split(traceparent)
            headers.append(("traceparent", parent))
            if let state { headers.append(("tracestate", state)) }
        }
        return headers
    }

    /// The attributes of binary mode: CloudEvents HTTP protocol binding 1.0, section 3.1.3.
    private static func attributes(of event: CloudEvent) -> [(name: String, value: String)] {
        let attributes: [(name: String, value: String?)] = [
            ("specversion", event.specversion), ("id", event.id), ("source", event.source), ("type", event.type),
            ("subject", event.subject), ("time", event.time), ("sequence", event.sequence),
            ("partitionkey", event.partitionkey), ("expirytime", event.expirytime), ("traceparent", event.traceparent),
        ]
        return attributes.compactMap { attribute in
            attribute.value.map { (name: "ce-" + attribute.name, value: headerValue($0)) }
        }
    }

    /// Printable ASCII but for the double quote and the percent sign stands for itself; every other byte of the UTF-8
    /// is escaped.
    private static func headerValue(_ text: String) -> String {
        var out = ""
        for byte in text.utf8 {
            if (0x21...0x7E).contains(byte), byte != UInt8(ascii: "\""), byte != UInt8(ascii: "%") {
                out.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                out += "%" + Hexadecimal.encode([byte]).uppercased()
            }
        }
        return out
    }
}
