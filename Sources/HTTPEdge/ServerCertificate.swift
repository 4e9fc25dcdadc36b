import Dispatch
import Foundation
import Logging
import NIOSSL
import Synchronization

/// The PEM files of a server's certificate and its key.
public struct TLSFiles: Sendable, Hashable {
    /// File with the certificate and its chain up to the root, in order.
    public var certificateChain: String
    public var privateKey: String

    public init(certificateChain: String, privateKey: String) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
    }
}

/// The certificate for new connections. It is read again when its files change, so a renewal needs no restart. Open
/// connections keep the certificate that they began with.
final class ServerCertificate: Sendable {
    private struct Version: Equatable {
        let modified: [Date?]
        let sizes: [UInt64]
    }

    private struct State {
        var context: NIOSSLContext
        var version: Version
    }

    private let files: TLSFiles
    private let state: Mutex<State>

    /// Reads the files, which blocks the thread.
    /// - Throws: an error that names the file that cannot be read.
    init(_ files: TLSFiles) throws {
        self.files = files
        let version = Self.version(of: files)
        state = Mutex(State(context: try Self.context(files), version: version))
    }

    var context: NIOSSLContext { state.withLock { $0.context } }

    /// Checks the files until cancelled. Certificate and key may not match while they are being replaced. They are then
    /// read again at the next check, and connections get the former certificate until then.
    func follow(every interval: Duration, logger: Logger) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            await look(logger: logger)
        }
    }

    /// Reads the files again if they have changed, and logs this.
    func look(logger: Logger) async {
        do {
            if try await reloaded() {
                logger.info("the certificate was read again", metadata: ["file": "\(files.certificateChain)"])
            }
        } catch {
            logger.warning(
                "the certificate cannot be read again: the former one stays in use",
                metadata: ["file": "\(files.certificateChain)", "error": "\(error)"])
        }
    }

    /// - Returns: whether the certificate has changed.
    func reloaded() async throws -> Bool {
        try await withCheckedThrowingContinuation { continuation in
            // Reading files blocks.
            DispatchQueue.global().async { [self] in
                continuation.resume(
                    with: Result {
                        let version = Self.version(of: files)
                        guard state.withLock({ $0.version != version }) else { return false }
                        let context = try Self.context(files)
                        state.withLock { $0 = State(context: context, version: version) }
                        return true
                    })
            }
        }
    }

    private static func version(of files: TLSFiles) -> Version {
        let attributes = [files.certificateChain, files.privateKey].map {
            try? FileManager.default.attributesOfItem(atPath: $0)
        }
        return Version(
            modified: attributes.map { $0?[.modificationDate] as? Date },
            sizes: attributes.map { ($0?[.size] as? NSNumber)?.uint64Value ?? 0 })
    }

    /// TLS 1.2 and later.
    private static func context(_ files: TLSFiles) throws -> NIOSSLContext {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(files.certificateChain).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: files.privateKey, format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        return try NIOSSLContext(configuration: tls)
    }
}
