import ChallengeModel
import Challenges
import Crypto
import Wire

extension API {
    /// `GET …/Challenges/{sid}`: answers at once, or, with `Wait`, when the challenge no longer matches
    /// `If-None-Match`.
    func pollChallenge(
        _ call: APICall, _ service: String, _ identity: String, _ sid: String
    ) async throws -> APIReply {
        var parameters = try call.parameters()
        let seconds = try parameters.integer("Wait", in: 0...30)
        guard seconds != nil || call.ifNoneMatch != nil else {
            return try await fetchChallenge(call, parameters, service, identity, sid)
        }
        let challenge: ChallengeSID = try call.sid(sid)
        let deadline = ContinuousClock.now + .seconds(seconds ?? 0)
        var call = call
        // The version is read before the challenge, so that a change between the two shows as another version.
        var version = seconds == nil ? nil : try await store.challengeVersions([challenge])[0]
        var isWoken = false
        while true {
            let reading: @Sendable () async throws -> (APIReply, EntityTag) = { [call, parameters] in
                var reply = try await fetchChallenge(call, parameters, service, identity, sid)
                let tag = EntityTag(of: reply)
                reply.headers["ETag"] = tag.text
                return (reply, tag)
            }
            let (reply, tag) = try await isWoken ? watch.shared(SharedReading(call), reading) : reading()
            guard tag.isKnown(by: call.ifNoneMatch) else { return reply }
            let isOver = ContinuousClock.now >= deadline
            let end =
                isOver
                ? .elapsed
                : await watch.wait(
                    for: challenge, from: version, by: .init(try authenticator.caller(call)),
                    until: min(deadline, expiry(of: reply, call) ?? deadline))
            if isOver || end == .refused {
                return APIReply(status: 304, headers: ["ETag": tag.text], ignored: reply.ignored)
            }
            if case .changed(let next) = end { version = next }
            try Task.checkCancellation()
            isWoken = true
            call.nowMs = watch.nowMs()
            // A key may be revoked, or a factor deleted, while the request waits.
            try await checkAgain(call)
        }
    }

    /// The time at which a pending challenge reads as expired.
    private func expiry(of reply: APIReply, _ call: APICall) -> ContinuousClock.Instant? {
        guard reply.body?["status"]?.stringValue == ChallengeStatus.pending.rawValue,
            let expiresAtMs = reply.body?["expiration_date"]?.stringValue.flatMap({ Timestamp.epochMs($0) })
        else { return nil }
        // Challenges expire at whole seconds, as in the reply. The time is never too early, because `nowMs` was read
        // before this clock.
        return .now + .milliseconds(expiresAtMs - call.nowMs)
    }

    /// Adds the delivery state when a backend reads a reply that contains `beckon`.
    func addDelivery(to reply: inout APIReply, _ challenge: Challenge) async throws {
        guard let extensions = reply.body?["beckon"], case .object(let members)? = reply.body,
            !challenge.isCodeChallenge
        else { return }
        let progress = DeliveryProgress(challenge, try await store.deliveryFacts(of: challenge.sid))
        let extended = extensions.adding("delivery", .string(progress.rawValue))
        reply.body = .object(members.map { $0.name == "beckon" ? ($0.name, extended) : $0 })
    }
}

/// The key of a shared reading: two requests share it when the same login sends the same request to the same address. A
/// device reads alone.
struct SharedReading: Hashable, Sendable {
    private let path: String
    private let query: String
    private let baseURL: String
    private let reader: Principal

    init?(_ call: APICall) {
        guard case .backend(let principal)? = call.caller else { return nil }
        (path, query, baseURL, reader) = (call.path, call.query, call.baseURL, principal)
    }
}

/// Identifies the reply that a reader gets: equal tags mean equal replies.
struct EntityTag: Sendable {
    let text: String

    init(of reply: APIReply) {
        let digest = SHA256.hash(data: reply.body?.bytes ?? [])
        text = "\"\(Base64URL.encode(Array(digest.prefix(16))))\""
    }

    /// - Parameter header: `If-None-Match`: tags separated by commas, including weak tags, or `*`.
    func isKnown(by header: String?) -> Bool {
        guard let header else { return false }
        return header.split(separator: ",").contains { entry in
            let tag = entry.trimmingWhitespace()
            return tag == "*" || tag == text || tag == "W/" + text
        }
    }
}
