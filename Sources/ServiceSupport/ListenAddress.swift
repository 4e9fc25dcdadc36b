import Foundation
public import HTTPEdge
import NIOCore
import NIOPosix

/// An address that a role listens on, tried before anything else starts: a role that cannot have it ends at once, and has not
/// opened its store or joined a group by then.
public struct ListenAddress: Sendable {
    private let name: String
    private let host: String
    private let port: Int
    private let hostFlag: String
    private let portFlag: String

    /// - Parameters:
    ///   - name: for people, "admin port".
    ///   - port: 0 to 65,535; 0: any free one, and only the host is tried.
    public init(_ name: String, host: String, port: Int, hostFlag: String, portFlag: String) {
        self.name = name
        self.host = host
        self.port = port
        self.hostFlag = hostFlag
        self.portFlag = portFlag
    }

    /// Opens and closes it.
    /// - Throws: ``StartError`` that says what is wrong with the host or the port, and which flag sets another.
    public func check() async throws(StartError) {
        do {
            // As the servers do: an address whose last connections have not died down is free.
            let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .bind(host: host, port: port).get()
            try await channel.close().get()
        } catch {
            throw StartError(opening: name, host: host, port: port, error, hostFlag: hostFlag, portFlag: portFlag)
        }
    }

    /// Runs a server that listens on it.
    /// - Throws: ``StartError`` as ``check()`` does, when the server cannot open it.
    public func run(_ server: EdgeServer) async throws {
        do {
            try await server.run()
        } catch let error where !(error is CancellationError) {
            throw StartError(opening: name, host: host, port: port, error, hostFlag: hostFlag, portFlag: portFlag)
        }
    }
}

/// Why a role cannot start, and what to do.
public struct StartError: Error, CustomStringConvertible, Sendable {
    public let description: String
    public init(_ description: String) { self.description = description }
}

extension StartError {
    /// An address that cannot be listened on: what is wrong, and what to set.
    public init(
        opening what: String, host: String, port: Int, _ error: any Error, hostFlag: String, portFlag: String
    ) {
        let address = "\(what) \(host):\(port) cannot be opened"
        switch (error as? IOError)?.errnoCode {
        case EADDRINUSE: self.init("\(address): the port is in use; set \(portFlag) to another, 0 for any free one")
        case EADDRNOTAVAIL:
            self.init("\(address): no interface of this machine has this address; set \(hostFlag), 0.0.0.0 for all")
        case EACCES:
            self.init(
                "\(address): a port below 1024 needs the right CAP_NET_BIND_SERVICE; set \(portFlag) to a higher one")
        default:
            self.init("\(address): \(error); expected an address of this machine: set \(hostFlag) and \(portFlag)")
        }
    }
}
