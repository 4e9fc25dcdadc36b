import Synchronization
import Wire

/// The header `Date` with the time of the system clock, at most a second old.
public enum HTTPDate {
    private static let last = Mutex<(second: Int64, text: String)>((.min, ""))

    public static var now: String {
        let second = Timestamp.nowMs() / 1000
        return last.withLock { last in
            if last.second != second { last = (second, Timestamp.httpDate(epochSeconds: second)) }
            return last.text
        }
    }
}
