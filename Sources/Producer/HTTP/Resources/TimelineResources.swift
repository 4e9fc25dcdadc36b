import Challenges

extension API {
    /// `GET …/Challenges/{sid}/Timeline`, for backends: the history of the challenge so far, in order of time.
    func fetchTimeline(
        _ call: APICall, _ service: String, _ identity: String, _ sid: String
    ) async throws -> APIReply {
        let (challenge, _) = try await challenge(call, service, identity, sid)
        let facts = try await store.deliveryFacts(of: challenge.sid)
        return .ok(
            Timeline(challenge: challenge, facts: facts, nowMs: call.nowMs).body,
            ignoring: try call.parameters().unread)
    }
}
