import Foundation
import HTTPTypes

@testable import DeviceKit

let factorSID = "YF03" + String(repeating: "b", count: 30)
let challengeSID = "YC03" + String(repeating: "a", count: 30)
let fieldsHeader = HTTPField.Name("Twilio-Verify-Signature-Fields")!

func factorJSON(status: String = "unverified") -> String {
    #"{"sid":"\#(factorSID)","account_sid":"AC22","status":"\#(status)","config":{"credential_sid":"CR99"},"x":null}"#
}

func challengeJSON(_ status: String, factor: String = factorSID, sid: String = challengeSID) -> String {
    #"{"sid":"\#(sid)","factor_sid":"\#(factor)","identity":"user-0001","status":"\#(status)","date_created":"2026-01-01T00:00:00Z","#
        + #""expiration_date":"2026-01-01T00:05:00Z","details":{"message":"Log in \/ é?","fields":[{"label":"IP","value":"1"}]},"hidden_details":{"k":"v"}}"#
}

func refusal(_ status: Int, _ code: Int) -> ServerReply {
    ServerReply(status: status, body: #"{"code":\#(code),"message":"no","more_info":"","status":\#(status)}"#)
}

func enrolment(token: String? = "abab", platform: PushPlatform = .apn) -> Enrolment {
    Enrolment(
        serviceSID: "VA11", identity: "user-0001", friendlyName: "Ann's +1 = é", appID: "dev.app", platform: platform,
        pushToken: token, metadata: ["os": "iOS"])
}

let registration = DeviceRegistration(
    factorSID: factorSID, accountSID: "AC22", serviceSID: "VA11", identity: "user-0001", keyID: "CR99",
    friendlyName: "Ann", appID: "dev.app", platform: .apn, pushToken: "abab", isVerified: true)

/// A server, a device on it, and what the server saw.
func withDevice(
    key: SoftwareKey = SoftwareKey(), deadline: Duration = .seconds(5), nowMs: Int64 = 1_767_225_600_000,
    answer: @escaping @Sendable (Int, SeenRequest) -> ServerReply,
    body: @escaping @Sendable (Device, TinyServer.Requests) async throws -> Void
) async throws {
    try await TinyServer.run(answer: answer) { url, transport, requests in
        let client = DeviceClient(
            apiURL: url + "/", transport: transport, deadline: deadline, sdkVersion: "3.0.2", nowMs: { nowMs })
        try await body(client.device(registration, signer: key), requests)
    }
}
