import ChallengeModel
import Logging
import NIOCore
import NIOSSL
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("Certificates", .timeLimit(.minutes(5)))
struct CertificateTests {
    /// The peer's certificate, whether it is trusted, and what is to be said about it.
    enum Fault: String, CaseIterable, Sendable {
        case expired = "the peer's certificate has expired, on "
        case notYet = "the peer's certificate is not valid before "
        case unknown = "the peer's certificate is signed by an unknown authority"
        case name = "the peer's certificate is for another name than localhost"

        func certificate() throws -> TestCertificate {
            switch self {
            case .expired: try TestCertificate(validFrom: -7200, validFor: 3600)
            case .notYet: try TestCertificate(validFrom: 3600)
            case .unknown: try TestCertificate()
            case .name: try TestCertificate(dnsName: "elsewhere.example")
            }
        }
    }

    @Test("a certificate that is refused is refused for a reason that the log names", arguments: Fault.allCases)
    func named(fault: Fault) async throws {
        var script = ScriptedServer.Script()
        let certificate = try fault.certificate()
        script.certificate = certificate
        let log = LogLines()
        try await ScriptedServer.run(script) { server in
            let configure: (inout PushGatewayConfiguration) -> Void = {
                if fault != .unknown { $0.caFile = certificate.caFile }
                $0.deadline = .seconds(3)
            }
            try await Rig.run(server.url, logger: log.logger, configure: configure) { rig in
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .deferred && answer.reason == "connection")
                let fetched = await rig.send(Rig.push(.fcm))
                #expect(fetched.disposition == .deferred && fetched.reason == "access-token")
                #expect(server.seen.requests.isEmpty)
            }
        }
        for message in ["no connection to the provider", "no access token"] {
            #expect(
                log.all.contains { $0.contains(message) && $0.contains(fault.rawValue) }, "\(message): \(log.all)")
        }
    }

    @Test("a CA file stands in place of the system's roots, for providers and for token endpoints")
    func caFile() throws {
        let file = try TestCertificate.shared.get().caFile
        let configured = try ProviderTLS.configuration(caFile: file)
        #expect(configured.trustRoots == .certificates(try NIOSSLCertificate.fromPEMFile(file)))
        #expect(configured.additionalTrustRoots.isEmpty)
        #expect(configured.certificateVerification == .fullVerification)
        let system = try ProviderTLS.configuration(caFile: nil)
        #expect(system.trustRoots == nil || system.trustRoots == .default)
        let error = #expect(throws: PushGatewayError.self) { try ProviderTLS.configuration(caFile: "/dev/null") }
        #expect(error?.message.contains("caFile") == true)
    }
}
