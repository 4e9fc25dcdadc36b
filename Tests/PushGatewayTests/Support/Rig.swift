import ChallengeModel
import Crypto
import CryptoExtras
import Foundation
import Logging
import NIOCore
import Synchronization

@testable import PushGateway
@testable import PushProviders

/// A gateway with credentials, and pushes to send through it.
struct Rig: Sendable {
    static let apnsKey = P256.Signing.PrivateKey()
    static let fcmKey = Result { try _RSA.Signing.PrivateKey(keySize: .bits2048) }

    let gateway: PushGateway

    static func run<T>(
        _ url: String, fcmURL: String? = nil, tuning: GatewayTuning = GatewayTuning(),
        logger: Logger = Rig.logger, configure: (inout PushGatewayConfiguration) -> Void = { _ in },
        _ body: (Rig) async throws -> T
    ) async throws -> T {
        var configuration = PushGatewayConfiguration()
        configuration[.apns] = url
        configuration[.apnsSandbox] = url
        configuration[.fcm] = fcmURL ?? url
        configuration[.fcmToken] = (fcmURL ?? url) + "/token"
        configuration[.hms] = url
        configuration[.hmsToken] = url + "/token"
        configuration.caFile = try TestCertificate.shared.get().caFile
        configure(&configuration)
        var tuning = tuning
        // The peer is in this process, and starves with it on a busy machine: in its handshake, and before it answers
        // PING.
        tuning.connectTimeout = tuning.connectTimeout ?? .seconds(20)
        if tuning.pool.pingDeadline == ConnectionPool.Settings().pingDeadline { tuning.pool.pingDeadline = .minutes(1) }
        let gateway = try PushGateway(configuration: configuration, logger: logger, tuning: tuning)
        gateway.setCredential(apnsCredential())
        gateway.setCredential(try fcmCredential())
        gateway.setCredential(hmsCredential())
        do {
            let value = try await body(Rig(gateway: gateway))
            await gateway.close(deadline: .seconds(1))
            return value
        } catch {
            await gateway.close(deadline: .seconds(1))
            throw error
        }
    }

    static func apnsCredential(sid: String = "CR-apns", sandbox: Bool = false) -> ProviderCredential {
        var credential = ProviderCredential()
        credential.credentialSid = sid
        credential.apnsToken.teamID = "TEAM123456"
        credential.apnsToken.keyID = "KEY1234567"
        credential.apnsToken.privateKeyPem = apnsKey.pemRepresentation
        credential.apnsToken.sandbox = sandbox
        return credential
    }

    static func hmsCredential(sid: String = "CR-hms") -> ProviderCredential {
        var credential = ProviderCredential()
        credential.credentialSid = sid
        credential.hms.appID = "104567890"
        credential.hms.appSecret = "s3cret+/=&"
        return credential
    }

    static func fcmCredential(sid: String = "CR-fcm") throws -> ProviderCredential {
        var credential = ProviderCredential()
        credential.credentialSid = sid
        credential.fcm.projectID = "demo-project"
        credential.fcm.clientEmail = "sender@demo-project.iam.gserviceaccount.com"
        credential.fcm.privateKeyID = "0123456789abcdef"
        credential.fcm.privateKeyPem = try fcmKey.get().pemRepresentation
        return credential
    }

    /// Silent, unless BECKON_TEST_LOG is set.
    static let logger = Logger(label: "test") { label -> any LogHandler in
        if ProcessInfo.processInfo.environment["BECKON_TEST_LOG"] == nil { return SwiftLogNoOpLogHandler() }
        return StreamLogHandler.standardError(label: label)
    }

    static func nowMs() -> Int64 { GatewayClock.system.nowMs() }

    static func push(_ platform: Platform = .apn, kind: PushKind = .visible, lifeMs: Int64 = 600_000) -> Push {
        Push(
            pushID: UUID().uuidString.lowercased(), kind: kind,
            challengeSID: "YC" + String(repeating: "0a", count: 16),
            factorSID: "YF" + String(repeating: "1b", count: 16),
            dispatchID: "c", message: "Sign in from \"Linz\"?", expiresAtMs: nowMs() + lifeMs,
            receiptToken: "rt." + String(repeating: "z", count: 120), platform: platform,
            pushToken: platform == .apn ? String(repeating: "ab", count: 32) : "fcm:token_1", appID: "org.example.app",
            credentialSID: platform == .fcm ? "CR-fcm" : platform == .hms ? "CR-hms" : "CR-apns",
            environment: .environmentUnspecified,
            registeredAtMs: 1_000)
    }

    func send(_ push: Push) async -> PushAnswer {
        await withCheckedContinuation { continuation in
            gateway.send(push) { continuation.resume(returning: $0) }
        }
    }

    /// Sends `count` pushes with `inFlight` outstanding; each completion hands over the next one.
    /// - Returns: answers by push id. A second completion of the same push would show as one answer too many.
    func volley(
        _ count: Int, inFlight: Int, _ make: @escaping @Sendable (Int) -> Push = { _ in Rig.push() }
    ) async -> [String: [PushAnswer]] {
        let volley = Volley(gateway: gateway, count: count, make: make)
        return await volley.run(inFlight: inFlight)
    }
}

private final class Volley: Sendable {
    private struct State {
        var next = 0
        var ended = 0
        var answers: [String: [PushAnswer]] = [:]
        var continuation: CheckedContinuation<Void, Never>?
    }
    private let gateway: PushGateway
    private let count: Int
    private let make: @Sendable (Int) -> Push
    private let state = Mutex(State())

    init(gateway: PushGateway, count: Int, make: @escaping @Sendable (Int) -> Push) {
        self.gateway = gateway
        self.count = count
        self.make = make
    }

    func run(inFlight: Int) async -> [String: [PushAnswer]] {
        await withCheckedContinuation { continuation in
            state.withLock { $0.continuation = continuation }
            for _ in 0..<min(inFlight, count) { sendNext() }
        }
        return state.withLock { $0.answers }
    }

    private func sendNext() {
        let number: Int? = state.withLock { state in
            guard state.next < count else { return nil }
            state.next += 1
            return state.next - 1
        }
        guard let number else { return }
        let push = make(number)
        gateway.send(push) { [self] answer in
            let done: CheckedContinuation<Void, Never>? = state.withLock { state in
                state.answers[push.pushID, default: []].append(answer)
                state.ended += 1
                guard state.ended == count else { return nil }
                defer { state.continuation = nil }
                return state.continuation
            }
            sendNext()
            done?.resume()
        }
    }
}

extension [String: [PushAnswer]] {
    /// How many answers there were of each disposition and reason.
    var summary: [String: Int] {
        var counts: [String: Int] = [:]
        for answer in values.joined() {
            counts["\(answer.disposition)" + (answer.reason.isEmpty ? "" : " \(answer.reason)"), default: 0] += 1
        }
        return counts
    }
}

/// Waits until a condition holds, at most `seconds`. - Returns: whether it did.
func eventually(seconds: Double = 60, _ condition: () -> Bool) async -> Bool {
    let end = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < end {
        if condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return condition()
}
