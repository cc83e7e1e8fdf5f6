/** Recognizes outdated replies: replies can arrive in a different order than their requests were sent. */
export class LatestReply {
  /** Registers a request. Call the returned function when its reply arrives: true if no newer reply came first. */
  expect(): () => boolean {
    const request = ++this._sent;
    return () => {
      this._newest = Math.max(request, this._newest);
      return this._newest === request;
    };
  }

  private _sent = 0;
  private _newest = 0;
}
