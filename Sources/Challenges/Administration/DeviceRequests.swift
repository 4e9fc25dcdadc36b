extension ChallengeStore {
    /// What a device's token was used for; nil: nothing yet. See ``DeviceRequest``.
    public func useOfDeviceToken(_ fingerprint: [UInt8], nowMs: Int64) async throws -> [UInt8]? {
        try await engine.read { try $0.deviceRequest(fingerprint, nowMs: nowMs) }
    }
}

extension Decision {
    /// The device's token is this request's from now on.
    /// - Throws: `tokenReplayed` when it was used for another.
    func claimDeviceRequest() throws {
        guard let request = caller.deviceRequest, let former = try rows.claim(request) else { return }
        guard former == request.request else { throw StoreError.tokenReplayed }
        caller.isRepeated = true
    }
}
