import CNghttp2

/// The header fields that requests carry. Names are static, so that nghttp2 need not copy them.
enum HeaderName: UInt8, CaseIterable {
    case method
    case scheme
    case authority
    case path
    case authorization
    case contentType
    case apnsTopic
    case apnsPushType
    case apnsPriority
    case apnsExpiration
    case apnsCollapseID
    case apnsID

    var text: StaticString {
        switch self {
        case .method: ":method"
        case .scheme: ":scheme"
        case .authority: ":authority"
        case .path: ":path"
        case .authorization: "authorization"
        case .contentType: "content-type"
        case .apnsTopic: "apns-topic"
        case .apnsPushType: "apns-push-type"
        case .apnsPriority: "apns-priority"
        case .apnsExpiration: "apns-expiration"
        case .apnsCollapseID: "apns-collapse-id"
        case .apnsID: "apns-id"
        }
    }

    /// Sent as a literal that no table may keep: what differs with every push would only push the useful entries out, and
    /// the token is secret. Apple, "Sending notification requests to APNs", says so for all but `authorization`, and so
    /// does RFC 7541 section 7.1.3 for secrets.
    var isNeverIndexed: Bool {
        switch self {
        case .path, .authorization, .apnsID, .apnsExpiration, .apnsCollapseID: true
        case .method, .scheme, .authority, .contentType, .apnsTopic, .apnsPushType, .apnsPriority: false
        }
    }
}

/// One nghttp2 field per name, with everything but the value filled in; built once, indexed by raw value.
struct HeaderFields: @unchecked Sendable {
    // Guarantee: only pointers to static strings, never written after `init`.
    static let templates = HeaderFields()

    let fields: [nghttp2_nv]

    private init() {
        fields = HeaderName.allCases.map { name in
            var flags = UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue)
            if name.isNeverIndexed { flags |= UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) }
            return nghttp2_nv(
                name: UnsafeMutablePointer(mutating: name.text.utf8Start), value: nil,
                namelen: name.text.utf8CodeUnitCount, valuelen: 0, flags: flags)
        }
    }
}
