import DeviceKit
import Wire

/// An answer that is right in every way but one: another key signed it. A server must refuse it and leave the challenge
/// pending.
struct ForgedAnswer {
    var challenge: DeviceChallenge

    struct Outcome {
        var isRefused: Bool
        var detail: String
    }

    func send(from device: Device) async throws -> Outcome {
        let token = try DeviceJWT.answer(
            json: challenge.json, fields: challenge.signatureFields, status: ChallengeStatus.approved.rawValue,
            signer: SoftwareKey())
        let response = try await device.postAnswer(token, to: challenge.sid)
        let code = (try? JSONParser.parse(response.body, .reply))?["code"]?.integerValue
        return Outcome(
            isRefused: response.status >= 400, detail: "\(response.status)" + (code.map { " code \($0)" } ?? ""))
    }
}
