import Crypto
import Foundation
public import NIOSSL
import SwiftASN1
import X509

/// A certificate authority of a moment's making and a server certificate from it. Both keys live in memory only.
public struct SimulatedCertificates: Sendable {
    /// The authority's certificate, PEM: what clients have to trust.
    public let authorityPEM: String
    private let leafDER: [UInt8]
    private let leafKey: P256.Signing.PrivateKey

    /// - Parameters:
    ///   - hosts: names and addresses (IPv4, IPv6) that the server certificate is good for.
    ///   - validDays: from an hour ago; at least 1.
    ///   - isExpired: the server certificate has ended a day ago.
    public init(
        hosts: [String] = ["localhost", "127.0.0.1", "::1"], validDays: Int = 30, isExpired: Bool = false
    ) throws {
        let authorityKey = P256.Signing.PrivateKey()
        leafKey = P256.Signing.PrivateKey()
        let from = Date(timeIntervalSinceNow: -3600)
        let to = Date(timeIntervalSinceNow: Double(max(validDays, 1)) * 86_400)
        let authorityName = try DistinguishedName {
            CommonName("Simulated provider authority")
        }
        let authority = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(authorityKey.publicKey),
            notValidBefore: from, notValidAfter: to, issuer: authorityName, subject: authorityName,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            },
            issuerPrivateKey: .init(authorityKey))
        let leaf = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(leafKey.publicKey),
            notValidBefore: isExpired ? Date(timeIntervalSinceNow: -2 * 86_400) : from,
            notValidAfter: isExpired ? Date(timeIntervalSinceNow: -86_400) : to, issuer: authorityName,
            subject: try DistinguishedName { CommonName(hosts.first ?? "localhost") },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames(hosts.map(Self.name))
            },
            issuerPrivateKey: .init(authorityKey))
        authorityPEM = try authority.serializeAsPEM().pemString + "\n"
        var serializer = DER.Serializer()
        try serializer.serialize(leaf)
        leafDER = serializer.serializedBytes
    }

    /// Writes the authority's certificate, which is public.
    /// - Throws: what writing the file throws.
    public func writePEM(to path: String) throws {
        try authorityPEM.write(toFile: path, atomically: true, encoding: .utf8)
    }

    /// Writes the other certificate and its key, for a process that shows them. The key is readable by its owner only.
    public func writeIdentity(certificateFile: String, keyFile: String) throws {
        let certificate = PEMDocument(type: "CERTIFICATE", derBytes: leafDER).pemString + "\n"
        try certificate.write(toFile: certificateFile, atomically: true, encoding: .utf8)
        guard
            FileManager.default.createFile(
                atPath: keyFile, contents: Data(leafKey.pemRepresentation.utf8),
                attributes: [.posixPermissions: 0o600])
        else { throw SimulatorError("\(keyFile) cannot be written") }
    }

    /// What a client needs that is to trust these servers, and no others.
    public func clientTLSConfiguration() throws -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authorityPEM.utf8)))
        return configuration
    }

    /// - Parameters:
    ///   - protocols: offered through ALPN, the best first.
    ///   - clients: whose certificate a client must show; nil: it need not show any.
    func serverContext(protocols: [String], clients: SimulatedCertificates? = nil) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(try NIOSSLCertificate(bytes: leafDER, format: .der))],
            privateKey: .privateKey(
                try NIOSSLPrivateKey(bytes: Array(leafKey.pemRepresentation.utf8), format: .pem)))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = protocols
        if let clients {
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = .certificates(
                try NIOSSLCertificate.fromPEMBytes(Array(clients.authorityPEM.utf8)))
        }
        return try NIOSSLContext(configuration: configuration)
    }

    private static func name(_ host: String) -> GeneralName {
        if let bytes = IPBytes.parse(host) { return .ipAddress(ASN1OctetString(contentBytes: bytes[...])) }
        return .dnsName(host)
    }
}

/// An address as the bytes of a certificate.
enum IPBytes {
    static func parse(_ host: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, host, &four) == 1 { return withUnsafeBytes(of: &four) { Array($0) } }
        var six = in6_addr()
        if inet_pton(AF_INET6, host, &six) == 1 { return withUnsafeBytes(of: &six) { Array($0) } }
        return nil
    }
}

/// What went wrong with a simulator: bad input, or a port that cannot be had.
public struct SimulatorError: Error, Sendable, Hashable, CustomStringConvertible {
    public var message: String

    public init(_ message: String) { self.message = message }

    public var description: String { message }
}
