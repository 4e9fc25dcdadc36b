/// So many at a time: the others wait in the order in which they came.
public actor Turns {
    /// Cases with stores on the shared PostgreSQL server. Each opens up to 24 of its connections.
    public static let postgres = Turns(6)

    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    public init(_ count: Int) { free = count }

    /// Waits for a turn, also when the task is cancelled: each turn ends by itself.
    public func withOne<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        await take()
        defer { giveBack() }
        return try await body()
    }

    private func take() async {
        if free > 0 {
            free -= 1
        } else {
            await withCheckedContinuation { waiting.append($0) }
        }
    }

    private func giveBack() {
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
}
