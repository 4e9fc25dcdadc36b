/// One page of a list, by a cursor that the store made.
public struct PageRequest: Sendable, Hashable {
    /// 1 to 1,000.
    public var size: Int
    /// The cursor of a page before; nil: the first.
    public var after: String?

    public init(size: Int = 50, after: String? = nil) {
        self.size = size
        self.after = after
    }
}

public struct Page<Item: Sendable>: Sendable {
    public let items: [Item]
    /// The cursor of the next page; nil: this was the last.
    public let next: String?

    public init(items: [Item], next: String?) {
        self.items = items
        self.next = next
    }
}
