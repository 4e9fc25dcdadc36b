import ChallengeModel
import Wire

/// The alerts that follow from facts about the delivery of challenges.
extension Decision {
    /// A provider has refused a push for good. A refused credential is the credential's alert.
    func alert(about outcome: PushOutcome) throws {
        switch outcome.disposition {
        case .rejected, .tokenDead: break
        case .credentialFault where CredentialSID(outcome.credentialSid) == nil: break
        default: return
        }
        guard let account = AccountSID(outcome.accountSid), let service = ServiceSID(outcome.serviceSid) else { return }
        let code = outcome.debuggerCode
        try raise(
            RaisedAlert(
                account: account, service: service, cause: "push \(service) \(code) \(outcome.reason.prefix(64))",
                resource: outcome.challengeSid, code: code,
                text: outcome.disposition == .tokenDead
                    ? "A provider reported that a push token is not valid any more." : "A provider refused a push.",
                details: outcome.alertDetails))
    }

    /// A challenge has reached no device in time.
    func alert(about escalation: Escalation) throws {
        guard let account = AccountSID(escalation.accountSid), let service = ServiceSID(escalation.serviceSid) else {
            return
        }
        let reasons = Set(escalation.devices.map(\.reason)).sorted()
        // 52301: nowhere to send it. 52310: no device confirmed it in time.
        let code = escalation.attempts == 0 ? 52_301 : 52_310
        var details = AlertDetails()
        details.words = [
            "advice": escalation.advice, "attempts": String(escalation.attempts),
            "devices": String(escalation.devices.count), "fallbacks": escalation.fallbacks.joined(separator: ","),
            "reason": reasons.joined(separator: ","),
        ].filter { !$0.value.isEmpty }
        try raise(
            RaisedAlert(
                account: account, service: service, cause: "undelivered \(service) \(code)",
                resource: escalation.challengeSid, code: code, text: "No device confirmed a challenge in time.",
                details: details))
    }

    /// - Parameter kind: `failed` or `dying`.
    func alert(about credential: CredentialSID, _ kind: IncidentKind, _ outcome: PushOutcome) throws {
        guard let account = AccountSID(outcome.accountSid), try rows.credential(credential, account: account) != nil
        else { return }
        let code = outcome.debuggerCode
        try raise(
            RaisedAlert(
                account: account, service: ServiceSID(outcome.serviceSid),
                cause: "credential \(credential) \(kind.rawValue)", resource: credential.rawValue, code: code,
                text: kind == .dying
                    ? "So many push tokens of a credential die at once that Beckon does not believe it."
                    : "A provider refuses a credential, or knows none of its push tokens.",
                details: outcome.alertDetails))
    }
}

extension PushOutcome {
    /// 52000 for a record of a version that wrote no code.
    fileprivate var debuggerCode: Int { errorCode == 0 ? 52_000 : Int(errorCode) }

    fileprivate var alertDetails: AlertDetails {
        var details = AlertDetails()
        details.words = [
            "challenge_sid": challengeSid, "credential_sid": credentialSid, "dispatch": dispatchID,
            "factor_sid": factorSid,
            "provider_status": providerStatus == 0 ? "" : String(providerStatus), "reason": reason,
        ].filter { !$0.value.isEmpty }
        return details
    }
}
