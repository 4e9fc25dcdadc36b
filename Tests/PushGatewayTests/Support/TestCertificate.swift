import Crypto
import Foundation
import NIOSSL
import SwiftASN1
import X509

/// A certificate for localhost and loopback addresses, made when the tests start, that is its own root.
struct TestCertificate: Sendable {
    static let shared = Result { try TestCertificate() }

    let certificatePEM: String
    let keyPEM: String
    /// The certificate, as a file to trust.
    let caFile: String

    /// - Parameters:
    ///   - dnsName: the one name it is good for; localhost beside loopback addresses, for NIOSSL takes the address too.
    ///   - validFrom, validFor: seconds from now, and from then.
    init(dnsName: String = "localhost", validFrom: TimeInterval = -3600, validFor: TimeInterval = 90_000) throws {
        let key = P256.Signing.PrivateKey()
        let name = try DistinguishedName { CommonName("localhost") }
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: .init(key.publicKey),
            notValidBefore: Date(timeIntervalSinceNow: validFrom),
            notValidAfter: Date(timeIntervalSinceNow: validFrom + validFor),
            issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                SubjectAlternativeNames(
                    [.dnsName(dnsName)]
                        + (dnsName == "localhost" ? [1, 2] : []).map {
                            .ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, $0]))
                        })
            }, issuerPrivateKey: .init(key))
        certificatePEM = try certificate.serializeAsPEM().pemString
        keyPEM = key.pemRepresentation
        caFile = FileManager.default.temporaryDirectory.appendingPathComponent("gateway-\(UUID()).pem").path
        try certificatePEM.write(toFile: caFile, atomically: true, encoding: .utf8)
    }

    /// - Parameter asksForClient: only a client with this very certificate gets through the handshake.
    func serverContext(protocols: [String] = ["h2"], asksForClient: Bool = false) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(try NIOSSLCertificate(bytes: Array(certificatePEM.utf8), format: .pem))],
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(keyPEM.utf8), format: .pem)))
        configuration.applicationProtocols = protocols
        if asksForClient {
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = .certificates([
                try NIOSSLCertificate(bytes: Array(certificatePEM.utf8), format: .pem)
            ])
        }
        return try NIOSSLContext(configuration: configuration)
    }
}
