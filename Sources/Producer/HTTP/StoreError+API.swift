import ChallengeStore

extension APIError {
    /// What the store's refusal means to a caller.
    init(_ error: StoreError) {
        switch error {
        case .notFound(.factor):
            self.init(.notFound, "The requested resource was not found: no such factor of this identity")
        case .notFound: self = .notFound
        case .conflict(.factor):
            self.init(.factorExists, "A factor with this Binding.PublicKey exists already for this identity")
        case .conflict: self.init(.entityExists, "An entity with this Identity exists already in this service")
        case .limit(.factors):
            self.init(.factorLimit, "The identity has 20 push factors, the most there may be: delete one first")
        case .limit(.notifications):
            self.init(.notificationLimit, "The challenge was sent again 3 times, the most there may be")
        case .accessTokenRefused:
            self.init(
                .factorCreationRefused,
                "Unauthorized factor creation: the access token is unknown, expired, used up, or was made for another "
                    + "service or identity")
        case .factorUnverified:
            self.init(.factorUnverified, "The factor is not verified: the device must verify it first")
        case .noVerifiedFactor:
            self.init(.factorUnverified, "The identity has no verified push factor")
        case .alreadyResponded: self.init(.alreadyResponded, "The challenge was answered already")
        case .alreadyExpired: self.init(.alreadyExpired, "The challenge has expired")
        case .busy, .closed:
            self.init(.unavailable, "Busy: nothing was done, try again", headers: ["Retry-After": "1"])
        case .failed: self.init(.internalError, "Internal error")
        }
    }
}
