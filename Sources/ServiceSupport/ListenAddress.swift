import Foundation
public import HTTPEdge
import NIOCore
import NIOPosix

/// An address that a role listens on. It is checked before anything else starts, so a role that cannot open it ends at
/// once, before it opens its store or joins a group.
public struct ListenAddress: Sendable {
    private let name: String
    private let host: String
    private let port: Int
    private let hostFlag: String
    private let portFlag: String

    /// - Parameters:
    ///   - name: the name for people, for example "admin port".
    ///   - port: 0 to 65,535; 0: any free port. Only the host is then checked.
    public init(_ name: String, host: String, port: Int, hostFlag: String, portFlag: String) {
        self.name = name
        self.host = host
        self.port = port
        self.hostFlag = hostFlag
        self.portFlag = portFlag
    }

    /// Opens and closes the address.
    /// - Throws: ``StartError`` with the fault of the host or port, and the flag that sets another.
    public func check() async throws(StartError) {
        do {
            // The same option as the servers: an address whose last connections are still closing counts as free.
            let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .bind(host: host, port: port).get()
            try await channel.close().get()
        } catch {
            throw StartError(opening: name, host: host, port: port, error, hostFlag: hostFlag, portFlag: portFlag)
        }
    }

    /// Runs a server that listens on the address.
    /// - Throws: ``StartError``, like ``check()``, when the server cannot open the address.
    public func run(_ server: EdgeServer) async throws {
        do {
            try await server.run()
        } catch let error where !(error is CancellationError) {
            throw StartError(opening: name, host: host, port: port, error, hostFlag: hostFlag, portFlag: portFlag)
        }
    }
}

/// The reason why a role cannot start, with the remedy.
public struct StartError: Error, CustomStringConvertible, Sendable {
    public let description: String
    public init(_ description: String) { self.description = description }
}

extension StartError {
    /// The error for an address that cannot be opened: the fault, and the setting to change.
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
