import DeviceKit
import Wire

/// An answer of HMS other than success: a result code, mostly under HTTP 200. Source: Huawei, "Sending Messages",
/// result codes.
struct HMSResult: Error, Sendable, Hashable {
    var status = 200
    /// Nil: the answer is HTTP's own and has no body.
    var code: String?
    var message: String

    static let unauthenticated = HMSResult(status: 401, code: "80200001", message: "Oauth authentication error")
    static let tokenExpired = HMSResult(code: "80200003", message: "Oauth token expired")
    static let noPermission = HMSResult(code: "80300002", message: "The app has no permission to send")
    static let allTokensInvalid = HMSResult(code: "80300007", message: "All the tokens are invalid")
    static let tooLarge = HMSResult(code: "80300008", message: "The message body is larger than 4096 bytes")
    static let tokenCount = HMSResult(code: "80300010", message: "The number of tokens is not 1 to 1000")
    static let flowControl = HMSResult(status: 503, code: nil, message: "")
    static let `internal` = HMSResult(status: 500, code: "81000001", message: "System internal error")
    static let notFound = HMSResult(status: 404, code: nil, message: "")
    static let methodNotAllowed = HMSResult(status: 405, code: nil, message: "")

    static func parameter(_ message: String) -> HMSResult { HMSResult(code: "80100001", message: message) }
    static func structure(_ message: String) -> HMSResult { HMSResult(code: "80100003", message: message) }

    /// Some of the tokens: the others were sent to.
    static func partial(success: Int, illegal: [String]) -> HMSResult {
        let message = JSONValue.object([
            ("success", .integer(Int64(success))), ("failure", .integer(Int64(illegal.count))),
            ("illegal_tokens", .array(illegal.map { .string($0) })),
        ])
        return HMSResult(code: "80100000", message: message.text)
    }

    /// The answer that a fault names: a result code, or an HTTP status; ``internal`` for another word.
    static func named(_ word: String) -> HMSResult {
        switch word {
        case "80200001": .unauthenticated
        case "80200003": .tokenExpired
        case _ where word.utf8.count == 8 && word.hasPrefix("80"): HMSResult(code: word, message: "simulated")
        case _ where word.utf8.count == 3:
            Int(word).flatMap { 400...599 ~= $0 ? HMSResult(status: $0, code: nil, message: "") : nil } ?? .internal
        default: .internal
        }
    }

    /// The word for logs and counters.
    var reason: String { code ?? "HTTP \(status)" }

    func body(requestID: String) -> [UInt8] {
        guard let code else { return [] }
        return Self.body(code: code, message: message, requestID: requestID)
    }

    static func body(code: String, message: String, requestID: String) -> [UInt8] {
        JSONValue.object([("code", .string(code)), ("msg", .string(message)), ("requestId", .string(requestID))]).bytes
    }
}
