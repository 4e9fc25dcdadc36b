/// A request for one page of a list, by a cursor from the store.
public struct PageRequest: Sendable, Hashable {
    /// 1 to 1,000.
    public var size: Int
    /// The cursor from the previous page; nil: the first page.
    public var after: String?

    public init(size: Int = 50, after: String? = nil) {
        self.size = size
        self.after = after
    }
}

public struct Page<Item: Sendable>: Sendable {
    public let items: [Item]
    /// The cursor of the next page; nil: this is the last page.
    public let next: String?

    public init(items: [Item], next: String?) {
        self.items = items
        self.next = next
    }
}
