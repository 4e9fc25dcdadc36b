import ChallengeModel
import Wire

extension API {
    /// The public keys that verify events, as a JSON Web Key Set; empty when events are not signed.
    func eventKeys(_ call: APICall) -> APIReply {
        .ok(eventSigner?.keySet ?? .object([("keys", .array([]))]))
    }
}
