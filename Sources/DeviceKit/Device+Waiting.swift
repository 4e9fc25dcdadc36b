import Wire

extension Device {
    /// The current state of a challenge, and a tag for this state.
    public struct Reading: Sendable, Hashable {
        /// The challenge as it was read.
        public let challenge: DeviceChallenge
        /// To be handed to the next ``Device/challenge(_:after:waitSeconds:)``.
        public let tag: String
    }

    /// Waits on the server until a challenge changes. Use it while a sheet is open, to close the sheet when another
    /// device has answered or the backend has canceled the challenge. Call it again for as long as the sheet is open.
    /// - Parameters:
    ///   - sid: `YC…`.
    ///   - last: the last result of this method; nil: the call returns at once.
    ///   - waitSeconds: 0 to 30.
    /// - Returns: nil when nothing changed in this time, or when too many requests wait on the server.
    /// - Throws: ``DeviceError``, like ``challenge(_:)``.
    public func challenge(
        _ sid: String, after last: Reading?, waitSeconds: Int = 25
    ) async throws -> Reading? {
        let seconds = min(max(waitSeconds, 0), 30)
        let response = try await perform(
            "GET", path: "\(challengesPath)/\(Percent.encode(sid))?Wait=\(last == nil ? 0 : seconds)", form: nil,
            headers: last.map { [("If-None-Match", $0.tag)] } ?? [],
            deadline: client.deadline + .seconds(seconds))
        if response.status == 304 { return nil }
        try DeviceClient.expectSuccess(response)
        guard let tag = response.header("ETag") else {
            throw DeviceError.malformedReply("the challenge has no ETag: the server knows no Wait")
        }
        let challenge = try DeviceChallenge(
            json: response.body, signatureFields: response.header("Twilio-Verify-Signature-Fields"))
        guard challenge.sid == sid else {
            throw DeviceError.malformedReply("the server answered with another challenge than the one asked for")
        }
        return Reading(challenge: challenge, tag: tag)
    }
}
