extension ChallengeStore {
    /// The request that a device's token was used for; nil: none yet. See ``TokenUse``.
    public func useOfDeviceToken(_ fingerprint: [UInt8], nowMs: Int64) async throws -> [UInt8]? {
        try await engine.read { try $0.tokenUse(fingerprint, nowMs: nowMs) }
    }
}

extension Decision {
    /// Claims the device's token for this request.
    /// - Throws: `tokenReplayed` when the token was used for another request.
    func claimToken() throws {
        guard let request = caller.tokenUse, let former = try rows.claim(request) else { return }
        guard former == request.request else { throw StoreError.tokenReplayed }
        caller.isRepeated = true
    }
}
