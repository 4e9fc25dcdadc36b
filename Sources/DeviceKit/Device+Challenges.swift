import Wire

extension Device {
    /// Maximum number of pages that one listing reads.
    private static let mostPages = 20

    /// The pending challenges that are addressed to this device, oldest first, and only the newest of each action. This
    /// call counts as a receipt (channel `poll`) for each challenge.
    /// - Parameters:
    ///   - pageSize: challenges per page, 1 to 1000. Up to 20 pages are read.
    /// - Returns: challenges without ``DeviceChallenge/signatureFields``; ``answer(_:approved:proof:)`` fetches
    ///   what it needs.
    public func pendingChallenges(pageSize: Int = 50) async throws -> [DeviceChallenge] {
        var found: [DeviceChallenge] = []
        var pageToken: String?
        for _ in 0..<Self.mostPages {
            var path =
                "\(challengesPath)?FactorSid=\(Percent.encode(registration.factorSID))&PageSize=\(pageSize)"
                + "&Order=asc&Status=pending"
            if let pageToken { path += "&PageToken=\(Percent.encode(pageToken))" }
            let response = try await perform("GET", path: path, form: nil)
            try DeviceClient.expectSuccess(response)
            let page = try ChallengePage(response.body)
            found += page.challenges
            guard let next = page.nextPageToken, next != pageToken else { return found.lastOfEachAction }
            pageToken = next
        }
        return found.lastOfEachAction
    }

    /// The current state of one challenge, with the members that an answer signs. Fetching a pending challenge counts
    /// as a receipt.
    /// - Parameter sid: `YC…`, usually from a push.
    /// - Throws: ``DeviceError``: `refused` with 404 when this device has no challenge with this SID.
    public func challenge(_ sid: String) async throws -> DeviceChallenge {
        let response = try await perform("GET", path: challengesPath + "/" + Percent.encode(sid), form: nil)
        try DeviceClient.expectSuccess(response)
        let challenge = try DeviceChallenge(
            json: response.body, signatureFields: response.header("Twilio-Verify-Signature-Fields"))
        guard challenge.sid == sid else {
            throw DeviceError.malformedReply("the server answered with another challenge than the one asked for")
        }
        return challenge
    }

    /// Signs and sends the person's answer, then reads the challenge again and compares.
    /// The values of `challenge` are signed, so the answer applies to what the person saw. A challenge from a list is
    /// fetched first.
    /// - Parameters:
    ///   - challenge: from ``challenge(_:)`` or ``pendingChallenges(pageSize:)``.
    ///   - approved: the person's decision.
    ///   - proof: the values that the challenge requires for an approval in addition to the signature. They are not
    ///     sent with a denial.
    /// - Returns: the challenge after the answer.
    /// - Throws: ``DeviceError``: `otherFactor`, `notPending`, `missingSignatureFields`, `numberRequired`,
    ///   `sessionRequired` before anything is sent; `refused` with 60322 (already answered), 60323 (expired), 60324
    ///   (wrong signature, number or session; the challenge stays pending, except that the third wrong number denies
    ///   it); `notApplied`. When no reply came, the challenge is read again first: an answer that did arrive is not an
    ///   error.
    @discardableResult
    public func answer(
        _ challenge: DeviceChallenge, approved: Bool, proof: ApprovalProof = ApprovalProof()
    ) async throws -> DeviceChallenge {
        guard challenge.factorSID == registration.factorSID else { throw DeviceError.otherFactor }
        var signed = challenge
        if signed.signatureFields.isEmpty {
            signed = try await self.challenge(challenge.sid)
            guard signed.factorSID == registration.factorSID else { throw DeviceError.otherFactor }
            guard signed.message == challenge.message, signed.fields == challenge.fields else {
                throw DeviceError.malformedReply("the challenge's details changed since it was listed")
            }
        }
        guard signed.status == .pending else { throw DeviceError.notPending(signed.status) }
        guard !signed.signatureFields.isEmpty else { throw DeviceError.missingSignatureFields }
        if approved {
            if signed.requiresSession, proof.sessionToken == nil { throw DeviceError.sessionRequired }
            if let digits = signed.numberDigits, proof.number == nil {
                throw DeviceError.numberRequired(digits: digits)
            }
        }
        let wanted = approved ? ChallengeStatus.approved : .denied
        let token = try DeviceJWT.answer(
            json: signed.json, fields: signed.signatureFields, status: wanted.rawValue, signer: signer)
        var lost: DeviceError?
        do {
            try DeviceClient.expectSuccess(try await postAnswer(token, to: signed.sid, proof: approved ? proof : nil))
        } catch let error as DeviceError where error.isTransient {
            lost = error
        }
        let after = try await self.challenge(signed.sid)
        guard after.status == wanted else {
            if after.status == .pending, let lost { throw lost }
            throw DeviceError.notApplied(after.status)
        }
        return after
    }

    /// Sends a signed answer unchanged.
    package func postAnswer(
        _ token: String, to sid: String, proof: ApprovalProof? = nil
    ) async throws -> DeviceResponse {
        var form = [(name: "AuthPayload", value: token)]
        if let number = proof?.number { form.append(("Number", number)) }
        if let sessionToken = proof?.sessionToken { form.append(("SessionToken", sessionToken)) }
        return try await perform("POST", path: challengesPath + "/" + Percent.encode(sid), form: form)
    }

    /// Confirms that a challenge arrived, with this device's own token instead of a push's receipt token. The call may
    /// be repeated. It is sent up to three times when no reply comes.
    /// - Parameters:
    ///   - sid: `YC…`.
    ///   - channel: the way in which the challenge arrived.
    ///   - shown: whether the person can see the notification.
    ///   - notificationsEnabled: the value for ``Device/reportNotifications(enabled:)``, in the same request; nil: not
    ///     sent.
    public func confirm(
        challenge sid: String, channel: ReceiptChannel, shown: ReceiptShown, notificationsEnabled: Bool? = nil
    ) async throws {
        try await client.retryingTransient {
            let response = try await perform(
                "POST", path: challengesPath + "/" + Percent.encode(sid) + "/Receipts",
                form: DeviceClient.receipt(channel: channel, shown: shown, nowMs: client.nowMs() + clockCorrectionMs)
                    + (notificationsEnabled.map { [("Config.NotificationsEnabled", "\($0)")] } ?? []))
            try DeviceClient.expectSuccess(response)
        }
    }

    /// Confirms that a push arrived, with the push's receipt token. See
    /// ``DeviceClient/confirm(receiptToken:channel:shown:)``.
    public func confirm(receiptToken: String, channel: ReceiptChannel, shown: ReceiptShown) async throws {
        try await client.confirm(receiptToken: receiptToken, channel: channel, shown: shown)
    }
}

/// One page of a list of challenges.
struct ChallengePage {
    var challenges: [DeviceChallenge]
    /// Nil on the last page.
    var nextPageToken: String?

    init(_ body: [UInt8]) throws {
        guard let tree = try? JSONParser.parse(body, .reply),
            let list = try? JSONParser.memberRanges(of: body).first(where: { $0.name == "challenges" }),
            let ranges = try? JSONParser.elementRanges(of: body, in: list.range)
        else { throw DeviceError.malformedReply("the list has no array challenges") }
        challenges = try ranges.map { try DeviceChallenge(json: Array(body[$0]), signatureFields: nil) }
        nextPageToken = tree["meta"]?["next_page_url"]?.stringValue.flatMap {
            Form.queryItem("PageToken", of: $0)
        }
    }
}
