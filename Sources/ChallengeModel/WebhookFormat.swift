/// What a webhook posts.
public enum WebhookFormat: String, Sendable, Hashable, CaseIterable {
    /// `application/x-www-form-urlencoded`, as receivers of the original API expect it.
    case form
    /// The CloudEvent as `application/json`, for receivers that check `bodySHA256`.
    case json
    /// The CloudEvent in structured mode, `application/cloudevents+json`.
    case structured = "cloudevents"
    /// The CloudEvent in binary mode: attributes as `ce-` headers, the data as the body.
    case binary = "cloudevents-binary"
}
