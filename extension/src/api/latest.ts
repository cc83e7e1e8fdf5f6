/** Answers may come in another order than they were asked for; this tells which ones are out of date. Pure. */
export class Order {
  /** Note a question; what comes back says whether its answer is newer than all that came before. */
  ask(): () => boolean {
    const mine = ++this._asked;
    return () => {
      this._come = Math.max(mine, this._come);
      return this._come === mine;
    };
  }

  private _asked = 0;
  private _come = 0;
}
