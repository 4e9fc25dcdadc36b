import NIOCore

/// One attempt to get a connection: resolve, then one address after the other until SETTINGS have come.
final class ConnectAttempt: @unchecked Sendable {
    // Guarantee: touched only on the pool's event loop.
    private let pool: ConnectionPool
    private let connector: Connector
    private let first: Int
    private let avoiding: Set<SocketAddress>
    private var left: [SocketAddress] = []
    private var address: SocketAddress?
    private var timer: Scheduled<Void>?
    private var isOver = false
    private let started = NIODeadline.now()
    private(set) var connection: HTTP2Connection?

    /// - Parameter first: turns the list of addresses, so that connections spread over them.
    init(pool: ConnectionPool, connector: Connector, first: Int, avoiding: Set<SocketAddress>) {
        self.pool = pool
        self.connector = connector
        self.first = first
        self.avoiding = avoiding
    }

    func start() {
        connector.addresses(of: pool.endpoint, on: pool.loop).whenComplete { result in
            switch result {
            case .success(let addresses):
                self.left = Self.order(addresses, first: self.first, avoiding: self.avoiding)
                if self.left.count > self.connector.mostAddresses {
                    self.left.removeLast(self.left.count - self.connector.mostAddresses)
                }
                self.tryNext(
                    PushGatewayError(code: .connection, message: "\(self.pool.endpoint.host) has no address"))
            case .failure(let error):
                self.end(error)
            }
        }
    }

    /// Turned by `first`, those that failed last behind the others.
    static func order(_ addresses: [SocketAddress], first: Int, avoiding: Set<SocketAddress>) -> [SocketAddress] {
        guard !addresses.isEmpty else { return [] }
        let turn = ((first % addresses.count) + addresses.count) % addresses.count
        let turned = Array(addresses[turn...] + addresses[..<turn])
        return turned.filter { !avoiding.contains($0) } + turned.filter { avoiding.contains($0) }
    }

    /// It has taken as long as one address may.
    var isTooSlow: Bool { .now() - started >= connector.timeout }

    func cancel() { end(ConnectionFault.aborted) }

    func becameReady() {
        guard !isOver, let connection, let address else { return }
        isOver = true
        timer?.cancel()
        pool.attemptSucceeded(self, connection, address)
    }

    func connectionEnded(_ error: any Error) {
        guard !isOver else { return }
        timer?.cancel()
        connection = nil
        guard let address else { return tryNext(error) }
        pool.addressFailed(address)
        connector.explained(error, address: address, endpoint: pool.endpoint, on: pool.loop).whenSuccess {
            self.tryNext($0)
        }
    }

    private func tryNext(_ error: any Error) {
        guard !isOver else { return }
        guard !left.isEmpty else { return end(error) }
        let address = left.removeFirst()
        let connection = HTTP2Connection(pool: pool)
        self.address = address
        self.connection = connection
        timer = pool.loop.scheduleTask(in: connector.timeout) {
            guard self.connection === connection else { return }
            self.connection = nil
            connection.abort()
            self.connectionEnded(ConnectionFault.connectTimeout)
        }
        connector.connect(to: address, endpoint: pool.endpoint, on: pool.loop, handler: connection).whenComplete {
            result in
            switch result {
            case .success(let channel):
                // Given up meanwhile.
                if self.connection !== connection { channel.close(promise: nil) }
            case .failure(let error):
                guard self.connection === connection else { return }
                self.connection = nil
                connection.abort()
                self.connectionEnded(error)
            }
        }
    }

    private func end(_ error: any Error) {
        guard !isOver else { return }
        isOver = true
        timer?.cancel()
        let abandoned = connection
        connection = nil
        abandoned?.abort()
        pool.attemptFailed(self, error)
    }
}
