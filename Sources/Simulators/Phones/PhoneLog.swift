import DequeModule
import DeviceKit
import Synchronization

/// Something that happened on a phone.
public struct PhoneEvent: Sendable, Codable, Hashable {
    public enum Kind: String, Sendable, Codable, Hashable {
        case online, offline
        /// A push reached the phone.
        case pushed
        /// It ran no code of the app.
        case lost
        /// The app took it and did nothing: expired, not for it, answered before.
        case ignored
        /// The person saw a notification, once per challenge.
        case displayed
        /// The notification went: its challenge is over, or another of its action stands for it.
        case withdrawn
        /// The notification extension kept the ids.
        case kept
        /// The server took the receipt.
        case confirmed
        case opened
        /// Asked the server for pending challenges and got some.
        case polled
        case fetched
        case answered
        /// The server said no to an answer or a receipt.
        case refused
        /// No answer, or an unexpected one.
        case failed
        /// The app told the server whether it may show notifications.
        case reported
        /// The app was deleted.
        case deleted
        /// The app was installed again and has a factor of its own.
        case enrolled
    }

    /// Epoch milliseconds.
    public var atMs: Int64
    /// The phone's name.
    public var phone: String
    public var kind: Kind
    public var challengeSID: String?
    /// Channel and `shown` of receipts, the status of answers, the server's code of refusals, reasons.
    public var detail: String

    public init(atMs: Int64, phone: String, kind: Kind, challengeSID: String?, detail: String) {
        self.atMs = atMs
        self.phone = phone
        self.kind = kind
        self.challengeSID = challengeSID
        self.detail = detail
    }
}

/// The last 2,000 events, exact counts per kind, and a way to wait for one.
public final class PhoneLog: Sendable {
    private struct State {
        var events: Deque<PhoneEvent> = []
        var counts: [PhoneEvent.Kind: Int] = [:]
        var followers: [Int: AsyncStream<PhoneEvent>.Continuation] = [:]
        var nextFollower = 0
    }

    private static let most = 2000
    private let state = Mutex(State())
    /// Gets the same events.
    private let parent: PhoneLog?

    /// - Parameter parent: a log of many phones.
    public init(parent: PhoneLog? = nil) { self.parent = parent }

    public var events: [PhoneEvent] { state.withLock { Array($0.events) } }

    /// Events of that kind since the start.
    public func count(_ kind: PhoneEvent.Kind) -> Int { state.withLock { $0.counts[kind] ?? 0 } }

    func record(_ event: PhoneEvent) {
        let followers = state.withLock { state in
            state.events.append(event)
            if state.events.count > Self.most { state.events.removeFirst() }
            state.counts[event.kind, default: 0] += 1
            return Array(state.followers.values)
        }
        for follower in followers { follower.yield(event) }
        parent?.record(event)
    }

    /// What is known, then what happens. A follower that falls 2,000 events behind loses the oldest.
    public func follow() -> AsyncStream<PhoneEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: PhoneEvent.self, bufferingPolicy: .bufferingNewest(Self.most))
        let id = state.withLock { state in
            for event in state.events { continuation.yield(event) }
            state.nextFollower += 1
            state.followers[state.nextFollower] = continuation
            return state.nextFollower
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.followers.removeValue(forKey: id) }
        }
        return stream
    }

    /// The first event, past or to come, that fits.
    /// - Throws: ``SimulatorError`` that says what was waited for and what happened instead, when `deadline` has
    ///   passed.
    @discardableResult
    public func wait(
        for kind: PhoneEvent.Kind, challenge: String? = nil, count: Int = 1, deadline: Duration = .seconds(60),
        where fits: @escaping @Sendable (PhoneEvent) -> Bool = { _ in true }
    ) async throws -> PhoneEvent {
        let stream = follow()
        do {
            return try await withDeadline(deadline) {
                var seen = 0
                for await event in stream
                where event.kind == kind && (challenge == nil || event.challengeSID == challenge) && fits(event) {
                    seen += 1
                    if seen >= count { return event }
                }
                throw CancellationError()
            }
        } catch DeviceError.deadlineExceeded {
            let happened = events.suffix(12).map { "\($0.kind.rawValue)(\($0.detail))" }.joined(separator: ", ")
            throw SimulatorError("no \(kind.rawValue) event in \(deadline); last: \(happened)")
        }
    }
}
